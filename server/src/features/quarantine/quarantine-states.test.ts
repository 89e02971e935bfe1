/**
 * Whatever is done to a webhook in quarantine, in whatever order and however often it breaks in the middle: it is in one
 * inbox at most, in a state that says so, and its bytes are there exactly as long as they can be released.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { Problem } from '../../problems.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { AcceptEvents } from '../webhooks/webhooks.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { assign, discardMany, discardQuarantined, verifyQuarantined } from './quarantine.ts'

const RIGHT = 'whsec_right'

let database: TestDatabase
let hub: QuarantineHub
/** An ingress of a hub that has room for one of nobody's. */
let narrow: QuarantineHub
let ofA: WebhookRoute
let ofB: WebhookRoute

beforeAll(async () => {
  database = await testDatabase()
  hub = quarantineHub(database.platform, { perSecond: 1_000 })
  narrow = quarantineHub(
    { ...database.platform, metrics: createMetrics('narrow', false) },
    { perSecond: 1_000, maxRows: 8 },
  )
  ofA = await hub.route(await hub.workspace('a-dev'), { secret: 'whsec_a', account: 'acct_a' })
  ofB = await hub.route(await hub.workspace('b-dev'), { secret: 'whsec_b' })
})
afterAll(async () => {
  await hub.close()
  await narrow.close()
  await database.drop()
})

const setSecret = (route: WebhookRoute, value: string) =>
  hub.secrets.set(`${route.tenantId}/${route.secretRefs[0]}`, value)

class Broken extends Error {}
const BREAKS: Readonly<Record<string, AcceptEvents>> = {
  no: (events) => hub.acceptEvents(events),
  before: async () => {
    throw new Broken()
  },
  after: async (events) => {
    await hub.acceptEvents(events)
    throw new Broken()
  },
}

type Step =
  | { readonly does: 'verify' | 'assign to a' | 'assign to b'; readonly breaks: string }
  | { readonly does: 'discard' | 'discard many' | 'mend' | 'spoil' | 'flood' | 'expire' | 'comes again' }
const broken = fc.constantFrom('no', 'before', 'after')
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ does: fc.constantFrom('verify', 'assign to a', 'assign to b'), breaks: broken }),
  fc.record({ does: fc.constantFrom('discard', 'discard many', 'mend', 'spoil', 'comes again') }),
  { weight: 1, arbitrary: fc.record({ does: fc.constantFrom('expire', 'flood') }) },
) as fc.Arbitrary<Step>

test('one inbox at most, one entry for each way out, and the state says which', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      async (steps, together) => {
        await hub.query('delete from quarantine')
        const began = new Date()
        setSecret(ofB, 'whsec_b')
        const event = { id: `evt_${newId()}` }
        const send = () => hub.send({ ...event, secret: RIGHT })
        expect(await send()).toBe('signature_invalid')
        const id = (await hub.rows())[0]?.id ?? ''
        const key = { tenantId: NO_WORKSPACE, id }

        const run = async (each: Step): Promise<void> => {
          const deps = {
            ...hub.deps,
            acceptEvents: BREAKS['breaks' in each ? each.breaks : 'no'] ?? hub.acceptEvents,
          }
          const to = (route: WebhookRoute) => ({ id, workspaceId: route.tenantId, routeId: route.id })
          const doing: Readonly<Record<Step['does'], () => unknown>> = {
            verify: () => verifyQuarantined(deps, key, CHANGE),
            'assign to a': () => assign(deps, to(ofA), CHANGE),
            'assign to b': () => assign(deps, to(ofB), CHANGE),
            discard: () => discardQuarantined(deps, key, CHANGE),
            'discard many': () =>
              discardMany(deps, { tenantId: NO_WORKSPACE, reason: 'signature_mismatch', limit: 10 }, CHANGE),
            // Somebody else's forgery needs the room.
            flood: () => narrow.send({ id: `evt_flood_${newId()}`, secret: 'whsec_of_nobody' }),
            mend: () => setSecret(ofB, RIGHT),
            spoil: () => setSecret(ofB, 'whsec_b'),
            expire: () => hub.query(`update quarantine set expires_at = now() - interval '1 second'`),
            'comes again': () => send().then(() => undefined),
          }
          try {
            await doing[each.does]()
          } catch (error) {
            if (error instanceof Broken) return
            expect(error).toBeInstanceOf(Problem)
            // Not found once something new has taken the place of what had expired.
            expect(['conflict', 'not_found']).toContain((error as Problem).code)
          }
        }
        const sendsAgain = steps.some(({ does }) => does === 'comes again')
        if (together) await Promise.all(steps.map(run))
        else for (const each of steps) await run(each)

        const row = (await hub.rows()).find((one) => one.id === id)
        const done = steps.map(({ does }) => does)
        // What comes again after its time is something new; what has made room is gone.
        if (!row) expect(done.includes('flood') || (done.includes('expire') && sendsAgain)).toBe(true)
        const inboxes = await hub.query<{ tenant_id: string; id: string; source: string }>(
          'select tenant_id, id, source from webhook_inbox where event_id = $1',
          [event.id],
        )
        const released = inboxes.filter(({ source }) => source === 'released')
        // The provider itself may have reached the route that it is signed for; the quarantine adds one other at most.
        expect(released.length).toBeLessThanOrEqual(1)
        if (!sendsAgain) expect(inboxes.length).toBe(released.length)
        if (!row) return
        expect(row.bytes === null).toBe(row.state === 'released' || row.state === 'discarded')
        if (row.state === 'released')
          for (const target of row.targets ?? [])
            expect(inboxes.map(({ id: inboxId }) => inboxId)).toContain(target.inbox_id)
        if (row.state === 'released' && row.targets)
          // A duplicate is what came by itself, and nothing else.
          expect(row.targets.map(({ duplicate }) => duplicate)).toEqual([released.length === 0])
        if (row.state === 'kept' || row.state === 'discarded') expect(released).toEqual([])
        if (row.state === 'releasing')
          for (const one of released)
            expect(row.targets?.map(({ tenant_id }) => tenant_id)).toContain(one.tenant_id)
        const entries = await hub.query<{ action: string }>(
          'select action from audit_entry where tenant_id = $1 and object = $2',
          [NO_WORKSPACE, `quarantine:${id}`],
        )
        const many = await hub.query<{ discarded: number }>(
          `select (diff -> 1 ->> 'after')::int as discarded from audit_entry
           where tenant_id = $1 and action = 'quarantine.many_discarded' and at >= $2`,
          [NO_WORKSPACE, began],
        )
        const byMany = row.state === 'discarded' && entries.length === 0
        if (byMany) expect(many.length).toBeGreaterThan(0)
        else expect(entries).toHaveLength(row.state === 'kept' ? 0 : 1)
      },
    ),
    { numRuns: 60, endOnFailure: true },
  )
})
