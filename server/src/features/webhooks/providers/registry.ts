import type { AnyProvider } from '../provider.ts'
import { adyen } from './adyen.ts'
import { github } from './github.ts'
import { hmac } from './hmac.ts'
import { paypal } from './paypal.ts'
import { shopify } from './shopify.ts'
import { slack } from './slack.ts'
import { standardWebhooks, svix } from './standard-webhooks.ts'
import { stripe } from './stripe.ts'
import { twilio } from './twilio.ts'

/** Every webhook provider. The contract test runs over this list and fails on a file that is not in it. */
const REGISTERED: readonly AnyProvider[] = [
  stripe,
  github,
  shopify,
  slack,
  twilio,
  paypal,
  adyen,
  standardWebhooks,
  svix,
  hmac,
]

/** By name: the path `/webhooks/:provider`. A Map, so that `constructor` is not a provider. */
export const PROVIDERS: ReadonlyMap<string, AnyProvider> = new Map(
  REGISTERED.map((provider) => [provider.name, provider]),
)
