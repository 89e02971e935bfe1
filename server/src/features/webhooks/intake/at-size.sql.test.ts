import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { type WatchedPlans, watchPlans } from '../../../../testing/watched-plans.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { verifiedEvent } from '../../../../testing/webhook-intake.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { prepare, toStore } from './events-to-store.ts'
import { takeBatch } from './take.sql.ts'

/**
 * What must not grow with the number of events that were taken before, counted in pages: unlike milliseconds they are
 * the same on every machine.
 */
let database: TestDatabase
let hub: WebhookHub
let watched: WatchedPlans
let route: WebhookRoute
let ordered: WebhookRoute
beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform)
  watched = await watchPlans(database.url, {})
  const tenantId = await hub.workspace('a-dev')
  route = await hub.route(tenantId, { secret: 'whsec_a' })
  ordered = await hub.route(tenantId, {
    secret: 'whsec_b',
    account: 'acct_b',
    ordering: { key: '/customer', limitMs: 60_000 },
  })
})
afterAll(async () => {
  await watched.close()
  await hub.close()
  await database.drop()
})

const ROWS = 1_000_000
const INBOX_ROWS = 300_000

const fill = () =>
  hub.query(
    `with n as materialized (
       select n, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as at_random from generate_series(1, $2::int) as n
     ),
     dedupe as (
       insert into webhook_dedupe (tenant_id, event_id, route_id, inbox_id, expires_at)
       select $1, 'evt_' || n, $3, at_random, now() + n * interval '1 second' from n
     )
     insert into webhook_line (tenant_id, route_id, key, inbox_id, limit_ms, job, job_id, started_at, look_at)
     select $1, $3, '"c' || n || '"', at_random, 60000, null, at_random, now(), now() + interval '1 hour' from n where n % 10 = 0`,
    [route.tenantId, ROWS, ordered.id],
  )

/** Rows of today, in the partition that the statement writes to. */
const fillInbox = () =>
  hub.query(
    `insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at, state,
                                connector, size, request_id, correlation_id, trace_id)
     select $1, (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
                 || 'a' || lpad(to_hex(n), 15, '0'))::uuid,
            $2, 'stripe', false, 'evt', 'paid', now(), 'ignored', 'product', 1, 'r', 'c', md5(n::text)
     from generate_series(1, $3::int) as n`,
    [route.tenantId, route.id, INBOX_ROWS],
  )

/** Pages of the second of two batches: the first one plans and opens what is new. */
async function pages(to: WebhookRoute, copies: boolean): Promise<number> {
  const events = (round: number) =>
    Array.from({ length: 20 }, (_, at) =>
      prepare(
        verifiedEvent(to, {
          payload: { customer: `new ${at}` },
          ...(copies && { eventId: `evt_same_${at}` }),
          ...(!copies && { eventId: `evt_${to.id}_${round}_${at}_${Math.random()}` }),
        }),
        undefined,
      ),
    )
  await takeBatch(watched.db, toStore(events(1)))
  await takeBatch(watched.db, toStore(events(2)))
  return watched.pages()
}

test('a million events before: a batch touches hardly more pages than with none, new or sent again, ordered or not', async () => {
  const kinds = [
    [route, false],
    [route, true],
    [ordered, false],
  ] as const
  const alone: number[] = []
  for (const [to, copies] of kinds) alone.push(await pages(to, copies))
  await fill()
  await fillInbox()
  for (const [at, [to, copies]] of kinds.entries()) {
    expect(await pages(to, copies)).toBeLessThan(2 * (alone[at] ?? 0))
    expect(watched.plans()).not.toMatch(/"Node Type": "Seq Scan",[^{]*"Relation Name": "(webhook_|job)/)
  }
}, 120_000)
