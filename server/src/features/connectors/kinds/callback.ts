import { type Static, Type } from 'typebox'
import type { DialResponse } from '../../../platform/dial/dial-request.ts'
import { CallFailure, excerptOf, type FailureClass } from '../../../resilience/failure.ts'
import { STANDARD_WEBHOOKS_SCHEDULE_MS } from '../../policies/policies.ts'
import { failureOfAnswer } from '../classify.ts'
import {
  type DryRunContext,
  defineConnector,
  type Health,
  type HealthContext,
  type InvokeContext,
} from '../define-connector.ts'
import { MASK } from '../scrub.ts'
import { messageId, signatureHeaders } from './callback/sign.ts'

/** Of an answer only the head counts; of its body the beginning explains a failure. */
const MAX_RESPONSE_BYTES = 64 * 1024

const CallbackSettings = Type.Object(
  {
    url: Type.String({
      pattern: '^https?://',
      maxLength: 2000,
      title: 'URL',
      description: 'Where the product takes its callbacks.',
    }),
  },
  { additionalProperties: false },
)

/** Signed messages to a product: webhook deliveries and the ends of jobs, by Standard Webhooks 1.0. */
export const callback = defineConnector({
  kind: 'callback',
  title: 'Callback to a product',
  description:
    'Delivers signed messages to an endpoint of a product (Standard Webhooks). Any 2xx answer is success.',
  settings: CallbackSettings,
  secrets: {
    signing_secret: {
      title: 'Signing secret',
      description:
        '`whsec_` followed by base64 of 24 to 64 random bytes; the product verifies with the same value.',
      required: true,
    },
    previous_signing_secret: {
      title: 'Previous signing secret',
      description:
        'During a rotation: the old value. Messages carry one signature of each until it is removed.',
      required: false,
    },
  },
  // The receiver is a product that may be down for a night; the table and the time are Standard Webhooks'.
  policy: {
    timeouts: { attempt_ms: 15_000 },
    job_retry: { schedule_ms: [...STANDARD_WEBHOOKS_SCHEDULE_MS] },
    // A product takes its own messages faster than a provider takes calls of others.
    rate_limits: { connector: { mode: 'enforce', permits: 100, period_ms: 1_000, burst: 200 } },
  },
  targets: (settings) => [{ path: '/settings/url', url: settings.url }],
  operations: (settings) => ({
    deliver: {
      title: 'Deliver a message',
      description: 'Posts the input as JSON, signed; `webhook-id` is the same on every attempt.',
      input: { type: 'object', title: 'Message', description: 'The message, sent as it is.' },
      output: {
        type: 'object',
        title: 'Receipt',
        description: 'That the product took the message.',
        properties: {
          http_status: { type: 'integer', title: 'Status', description: 'The 2xx status of the answer.' },
        },
        required: ['http_status'],
        additionalProperties: false,
      },
      safe: false,
      // The receiver knows a message again by its webhook-id.
      takesIdempotencyKey: true,
      invoke: (context) => deliver(settings, context),
      dryRun: (context) => preview(settings, context),
    },
  }),
  checkHealth,
})

type Settings = Static<typeof CallbackSettings>

/** The headers that say what the message is; those of one attempt come on top. */
function messageHeaders(context: DryRunContext, body: string): Record<string, string> {
  const { clock, idempotencyKey, secrets } = context
  return {
    accept: '*/*',
    'content-type': 'application/json',
    'user-agent': 'orchestrator',
    ...signatureHeaders({ id: messageId(idempotencyKey), body, now: clock.now(), secrets }),
  }
}

async function deliver(settings: Settings, context: InvokeContext) {
  const body = JSON.stringify(context.input)
  const response = await context.dial.request({
    method: 'POST',
    url: settings.url,
    headers: {
      ...messageHeaders(context, body),
      'x-orchestrator-attempt': context.attemptToken,
      ...(context.traceparent !== '' && { traceparent: context.traceparent }),
    },
    body,
    signal: context.signal,
    connectTimeoutMs: context.connectTimeoutMs,
    maxResponseBytes: MAX_RESPONSE_BYTES,
    // Who says 2xx has the message, however long, slow or broken what follows is.
    onBodyFault: 'cut',
  })
  const { status } = response
  if (status < 200 || status > 299)
    throw wantsNoMore(response)
      ? aborted(response)
      : failureOfAnswer(response, classOfRefusal(status), context.clock.now())
  return { output: { http_status: status }, httpStatus: status }
}

/** What a receiver says beside a refusal: this message shall not come again. A status alone cannot tell that. */
const wantsNoMore = ({ headers }: DialResponse): boolean =>
  headers['webhook-delivery']?.trim().toLowerCase() === 'abort'

const aborted = ({ status, body }: DialResponse): CallFailure =>
  new CallFailure({
    class: 'permanent',
    kind: 'aborted_by_receiver',
    message: `The receiver answered with HTTP ${status} and wants no further attempt of this message.`,
    httpStatus: status,
    upstream: { http_status: status, body_excerpt: excerptOf(body) },
  })

/** The signature is left out: with it the preview would be a message that the product takes. */
function preview(settings: Settings, context: DryRunContext) {
  const headers = messageHeaders(context, JSON.stringify(context.input))
  const signatures = headers['webhook-signature']?.replaceAll(/v1,\S+/g, `v1,${MASK}`) ?? MASK
  return {
    method: 'POST',
    url: settings.url,
    headers: { ...headers, 'webhook-signature': signatures },
    body: context.input,
  }
}

/**
 * A HEAD without a message and without a signature, so that no product does anything about it. Most endpoints
 * answer it with a 4xx, which shows that somebody is there; only a gateway's 5xx says that nobody is. The
 * secrets are checked by signing nothing.
 */
async function checkHealth(settings: Settings, context: HealthContext): Promise<Health> {
  signatureHeaders({ id: 'health', body: '', now: context.clock.now(), secrets: context.secrets })
  const { status } = await context.dial.request({
    method: 'HEAD',
    url: settings.url,
    headers: { accept: '*/*', 'user-agent': 'orchestrator' },
    signal: context.signal,
    connectTimeoutMs: context.connectTimeoutMs,
    maxResponseBytes: MAX_RESPONSE_BYTES,
  })
  const healthy = status < 502 || status > 504
  return {
    healthy,
    message: healthy
      ? `The endpoint can be reached (HTTP ${status} to a HEAD), and the signing secrets have the right form.`
      : `A gateway answers in the place of the endpoint (HTTP ${status}).`,
    details: { http_status: status },
  }
}

/**
 * Whatever is not 2xx is delivered again by the schedule: a receiver that answers 404 or 401 is often one that
 * is being deployed. Only 410 Gone says that it wants no more (Standard Webhooks 1.0).
 */
const classOfRefusal = (status: number): FailureClass => (status === 410 ? 'permanent' : 'safe_to_repeat')
