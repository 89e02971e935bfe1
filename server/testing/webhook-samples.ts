import type { WebhookSample } from './webhook-sample.ts'
import { stripe } from './webhook-samples/stripe.ts'

/** By provider name: a provider without a sample fails the contract test. */
export const WEBHOOK_SAMPLES: Readonly<Record<string, WebhookSample>> = { stripe }
