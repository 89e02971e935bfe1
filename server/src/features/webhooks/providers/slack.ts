import { createHash, createHmac } from 'node:crypto'
import { defineProvider, type ProviderEvent, type SignedRequest, type WebhookReply } from '../provider.ts'
import {
  type Fields,
  isObject,
  momentOf,
  objectOf,
  parseJsonOrForm,
  textAt,
} from '../provider-parts/request-body.ts'
import {
  refused,
  sameSignature,
  secondsToMs,
  signedHeader,
  tellingHeader,
  verdictOf,
} from '../provider-parts/request-headers.ts'

const SIGNATURE_HEADER = 'x-slack-signature'
const TIME_HEADER = 'x-slack-request-timestamp'
const SIGNATURE = /^v0=[0-9a-f]{64}$/
const TOLERANCE_MS = 300_000

/** An event of the Events API, a slash command, or what somebody did with a button, a menu or a form. */
function typeOf(body: Fields): string {
  const outer = textAt(body, 'type')
  if (outer === 'event_callback') return textAt(body, 'event', 'type') ?? outer
  return outer ?? (textAt(body, 'command') === undefined ? 'unknown' : 'slash_command')
}

function occurredAt({ event_time: seconds }: Fields, { headers, nowMs }: SignedRequest): Date {
  const said = typeof seconds === 'number' ? Math.floor(seconds) * 1_000 : undefined
  return momentOf(said ?? secondsToMs(tellingHeader(headers, TIME_HEADER) ?? '') ?? nowMs) ?? new Date(nowMs)
}

function readEvent(parsed: unknown, request: SignedRequest): ProviderEvent {
  const body = objectOf(parsed)
  const accounts = [
    textAt(body, 'team_id') ?? textAt(body, 'team', 'id'),
    textAt(body, 'enterprise_id') ?? textAt(body, 'enterprise', 'id'),
    textAt(body, 'api_app_id'),
  ]
  return {
    // Only the Events API sends again, and its event id stays the same then; what has no id is told by its content.
    eventId:
      textAt(body, 'event_id') ??
      textAt(body, 'trigger_id') ??
      `sha256-${createHash('sha256').update(request.raw).digest('hex')}`,
    type: typeOf(body),
    accounts: accounts.filter((account) => account !== undefined),
    livemode: null,
    occurredAt: occurredAt(body, request),
  }
}

/** Slack asks it once when an address is entered, and again whenever somebody presses the button. */
function answerChallenge(parsed: unknown): WebhookReply | undefined {
  if (!isObject(parsed) || parsed.type !== 'url_verification') return undefined
  const challenge = textAt(parsed, 'challenge') ?? ''
  return { status: 200, contentType: 'application/json; charset=utf-8', body: JSON.stringify({ challenge }) }
}

/**
 * Slack: the Events API (JSON), interactions and slash commands (forms).
 * Source: docs.slack.dev/authentication/verifying-requests-from-slack and /apis/events-api.
 */
export const slack = defineProvider({
  name: 'slack',
  title: 'Slack',
  keptHeaders: [SIGNATURE_HEADER, TIME_HEADER, 'x-slack-retry-num', 'x-slack-retry-reason'],
  // One signing secret is one app, which many teams may have installed.
  accounts: 'any',
  parse: parseJsonOrForm,
  verify: ({ raw, headers, nowMs }, secrets) => {
    const signature = signedHeader(headers, SIGNATURE_HEADER)
    if ('cause' in signature) return refused(signature.cause)
    const time = signedHeader(headers, TIME_HEADER)
    if ('cause' in time) return refused(time.cause)
    const sentMs = secondsToMs(time.value)
    if (sentMs === undefined || !SIGNATURE.test(signature.value)) return refused('signature_malformed')
    const verdict = verdictOf(secrets, (secret) => {
      const hmac = createHmac('sha256', secret.reveal()).update(`v0:${time.value}:`).update(raw)
      return sameSignature(signature.value, `v0=${hmac.digest('hex')}`)
    })
    return verdict.verified && Math.abs(nowMs - sentMs) > TOLERANCE_MS
      ? refused('timestamp_outside_tolerance')
      : verdict
  },
  events: (parsed, request) => [readEvent(parsed, request)],
  handshake: answerChallenge,
  // Whoever typed a slash command would be shown the hub's own JSON.
  reply: { status: 200, contentType: 'text/plain; charset=utf-8', body: '' },
})
