import type { WebhookSample } from './webhook-sample.ts'
import { adyen } from './webhook-samples/adyen.ts'
import { github, githubForm } from './webhook-samples/github.ts'
import { hmac } from './webhook-samples/hmac.ts'
import { paypal } from './webhook-samples/paypal.ts'
import { shopify } from './webhook-samples/shopify.ts'
import { slack, slackCommand } from './webhook-samples/slack.ts'
import { standardWebhooks, svix } from './webhook-samples/standard-webhooks.ts'
import { stripe } from './webhook-samples/stripe.ts'
import { twilio, twilioJson } from './webhook-samples/twilio.ts'

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

/** Every way in which every provider sends: what to call it, whose it is, and how it is made. */
export const WEBHOOK_CASES: readonly (readonly [what: string, provider: string, WebhookSample])[] = [
  ...Object.entries(WEBHOOK_SAMPLES).map(([name, sample]) => [name, name, sample] as const),
  ['github, as a form', 'github', githubForm],
  ['slack, a slash command', 'slack', slackCommand],
  ['twilio, as JSON', 'twilio', twilioJson],
]
