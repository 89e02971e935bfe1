import {
  type AssignDeps,
  createKeeper,
  type Keeper,
  type QuarantineLimits,
  type QuarantineRow,
  type VerifyDeps,
} from '../src/features/quarantine/quarantine.ts'
import { findWebhookProvider, type WebhookAnswer } from '../src/features/webhooks/webhooks.ts'
import type { Clock } from '../src/platform/clock.ts'
import type { TestPlatform } from './database.ts'
import { type WebhookHub, webhookHub } from './webhook-hub.ts'
import { WEBHOOK_SAMPLES } from './webhook-samples.ts'

export const QUARANTINE_LIMITS: QuarantineLimits = {
  ...{ keepDays: 7, maxRows: 100_000, maxBytes: 268_435_456, maxBodyBytes: 5_242_880, perSecond: 20 },
  maxUnprovenBodyBytes: 262_144,
}

/** A request of a provider, signed with `secret` at `atMs` by the sample of the provider. */
export interface Sent {
  readonly provider?: string
  readonly secret: string
  /** Undefined = the path of the provider alone. */
  readonly routeId?: string | undefined
  readonly id?: string
  readonly account?: string
  readonly livemode?: boolean
  readonly atMs?: number
  /** Instead of the event of the sample. */
  readonly body?: Buffer
}

export interface QuarantineHub extends WebhookHub, Keeper {
  /** What verifying again needs, of a workspace or of the platform. */
  readonly deps: VerifyDeps & AssignDeps & { readonly clock: Clock }
  /** Gives the answer, or the code of the refusal; waits for what is stored behind it. */
  send(sent: Sent): Promise<WebhookAnswer['kind'] | string>
  /** Everything in quarantine, oldest first. */
  rows(): Promise<(QuarantineRow & { readonly bytes: Buffer | null })[]>
}

const URL_OF_HUB = 'https://hooks.example.com'

/** Webhook ingress with a real quarantine behind it, over a real database. */
export function quarantineHub(platform: TestPlatform, limits: Partial<QuarantineLimits> = {}): QuarantineHub {
  const keeper = createKeeper(platform, { ...QUARANTINE_LIMITS, ...limits })
  const hub = webhookHub(platform, 'dev', undefined, keeper.keep)
  const { match, acceptEvents, routes, workspaces } = hub
  return {
    ...hub,
    ...keeper,
    deps: { db: platform.db, clock: platform.clock, match, acceptEvents, routes, workspaces },
    send: async ({
      provider: name = 'stripe',
      secret,
      routeId,
      atMs = platform.clock.now(),
      body,
      ...event
    }) => {
      const sample = WEBHOOK_SAMPLES[name]
      const provider = findWebhookProvider(name)
      if (!sample || !provider) throw new Error(`there is no provider ${name}`)
      const url = `${URL_OF_HUB}/webhooks/${name}${routeId === undefined ? '' : `/${encodeURIComponent(routeId)}`}`
      const signed = sample.sign({ event, body: body ?? sample.body(event), secrets: [secret], atMs, url })
      const headers = Object.entries(signed.headers).map(([header, value]) => [header.toLowerCase(), [value]])
      try {
        const { kind } = await hub.accept({
          ...{ provider, routeId, raw: signed.body, url: signed.url },
          headers: Object.fromEntries(headers),
          call: { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' },
        })
        return kind
      } catch (error) {
        if (error instanceof Error && 'code' in error) return String(error.code)
        throw error
      } finally {
        await keeper.settled()
      }
    },
    rows: () =>
      hub.query(
        `select *, body as bytes, state in ('kept', 'releasing') and expires_at <= now() as expired from quarantine
         order by id`,
      ),
  }
}
