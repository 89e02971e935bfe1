import type { WebhookSample } from './webhook-sample.ts'
import { adyen } from './webhook-samples/adyen.ts'
import { github } from './webhook-samples/github.ts'
import { hmac } from './webhook-samples/hmac.ts'
import { paypal } from './webhook-samples/paypal.ts'
import { shopify } from './webhook-samples/shopify.ts'
import { slack } from './webhook-samples/slack.ts'
import { standardWebhooks, svix } from './webhook-samples/standard-webhooks.ts'
import { stripe } from './webhook-samples/stripe.ts'
import { twilio } from './webhook-samples/twilio.ts'

/** By provider name: a provider without a sample fails the contract test. */
export const WEBHOOK_SAMPLES: Readonly<Record<string, WebhookSample>> = {
  stripe,
  github,
  shopify,
  slack,
  twilio,
  paypal,
  adyen,
  'standard-webhooks': standardWebhooks,
  svix,
  hmac,
}
