import type { QueryResultRow } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { BREAKER_SETTINGS } from '../../../testing/breaker-settings.ts'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { systemClock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { run } from '../../platform/db/statement.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import type { BreakerRule, Breakers, BreakerTransition } from '../../resilience/breakers.ts'
import { createLoadShed } from '../../resilience/load-shed.ts'
import { createMemoryStore } from '../../resilience/stores/memory.ts'
import { createGuards } from '../guards/guards.ts'
import { tellBreakers } from './breaker-care.ts'
import { listLiveBreakers } from './breakers.sql.ts'
import { createBreakerCare, forceBreaker, readBreaker, releaseBreaker } from './breakers.ts'

let hub: CallingHub
let wakeUp: WakeUp
const running: (() => Promise<void>)[] = []

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const operations = { get: { method: 'GET', path: '/' } }
  const settings = { base_url: 'https://api.example.com', operations }
  await hub.configure({ policies: {}, connectors: { api: { kind: 'http', settings } } })
  wakeUp = createWakeUp(hub.database.platform)
})
afterEach(async () => {
  for (const stop of running.splice(0)) await stop()
  await hub.query('truncate breaker, event')
})
afterAll(async () => {
  await wakeUp.close()
  await hub.close()
})

const lockBreakers = run<object>(
  'test.lock_breakers',
  'lock table breaker in access exclusive mode',
  () => [],
)

const RULE: BreakerRule = {
  mode: 'enforce',
  settings: { ...BREAKER_SETTINGS, consecutiveFailures: 3, openMs: 60_000 },
}

/** A process that makes calls, as far as breakers go. */
async function startNode(db: Db = hub.database.db): Promise<Breakers> {
  const platform = { ...hub.database.platform, db }
  const care = createBreakerCare(platform, { pollMs: 60_000 })
  const { breakers } = createGuards({
    clock: systemClock,
    random: () => 0.5,
    store: createMemoryStore({ clock: systemClock }),
    loadShed: createLoadShed({ clock: systemClock }),
    onTransition: care.heard,
  })
  await care.start(breakers)
  running.push(async () => {
    breakers.close()
    await care.close()
  })
  return breakers
}

const enter = async (breakers: Breakers) => breakers.enter(hub.tenantId, 'api', RULE)
const refused = async (breakers: Breakers): Promise<boolean> => (await enter(breakers)).refused
async function failThrice(breakers: Breakers): Promise<void> {
  for (const _ of [1, 2, 3]) {
    const entrance = await enter(breakers)
    if (!entrance.refused) entrance.end('transport', 1)
  }
}
const ref = () => ({ tenantId: hub.tenantId, connector: 'api' })
const change = {
  actor: 'svc:test',
  reason: 'a test',
  call: { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' },
}
const deps = () => ({ db: hub.database.db, wakeUp })

describe('a breaker that opens', () => {
  test('is stored with its event, and is still open after a restart of the process', async () => {
    const before = await startNode()
    await failThrice(before)
    await vi.waitFor(async () =>
      expect(await readBreaker(hub.database.db, ref())).toMatchObject({
        state: 'open',
        open_until: expect.any(String),
        why: '3 calls in a row did not get through',
      }),
    )
    const told = `select type, severity, connector, message, data from event where type ~ '^breaker'`
    expect(await hub.query(told)).toEqual([
      {
        type: 'breaker.opened',
        severity: 'warning',
        connector: 'api',
        message: '3 calls in a row did not get through: calls are refused for 60 s.',
        data: { from: 'closed', shadow: false, open_until: expect.any(String) },
      },
    ])
    expect(await refused(await startNode())).toBe(true)
  })

  test('of a policy in shadow mode is stored as such, and refuses nothing after a restart either', async () => {
    const breakers = await startNode()
    for (const _ of [1, 2, 3]) {
      const entrance = await breakers.enter(hub.tenantId, 'api', { ...RULE, mode: 'shadow' })
      if (!entrance.refused) entrance.end('transport', 1)
    }
    await vi.waitFor(async () =>
      expect(await readBreaker(hub.database.db, ref())).toMatchObject({ state: 'open', shadow: true }),
    )
    expect(await refused(await startNode())).toBe(false)
  })
})

describe('what breakers did', () => {
  const transition = (group: string, to: 'open' | 'half_open', why: string): BreakerTransition => ({
    group,
    key: 'api',
    from: 'closed',
    to,
    why,
    shadow: false,
    heard: false,
    ...(to === 'open' && { openMs: 60_000, openUntil: Date.now() + 60_000 }),
  })
  const eventTypes = async () =>
    (
      await hub.query<{ type: string }>(`select type from event where type ~ '^breaker' order by at, seq`)
    ).map(({ type }) => type)

  test('twice while the database was held up is told twice, and stored as it ended', async () => {
    const care = createBreakerCare(hub.database.platform)
    let locked = (): void => undefined
    const isLocked = new Promise<void>((resolve) => {
      locked = resolve
    })
    let free = (): void => undefined
    const holding = hub.database.db.transaction(async (tx) => {
      await lockBreakers(tx, {})
      locked()
      await new Promise<void>((resolve) => {
        free = resolve
      })
    })
    await isLocked
    // The first is on its way and waits for the lock; the others become one batch behind it.
    care.heard(transition(hub.tenantId, 'open', 'first'))
    care.heard(transition(hub.tenantId, 'half_open', 'second'))
    care.heard(transition(hub.tenantId, 'open', 'third'))
    free()
    await holding
    await vi.waitFor(async () =>
      expect(await readBreaker(hub.database.db, ref())).toMatchObject({ state: 'open', why: 'third' }),
    )
    await care.close()
    expect(await eventTypes()).toEqual(['breaker.opened', 'breaker.half_opened', 'breaker.opened'])
  })

  test('is stored although the database refuses the breaker of another workspace; what is lost is counted', async () => {
    const dropped = { inc: vi.fn() }
    const care = createBreakerCare(hub.database.platform, { dropped })
    const nobody = '00000000-0000-7000-8000-000000000000'
    for (const [group, why] of [
      [hub.tenantId, 'first'],
      [nobody, 'second'],
      [hub.tenantId, 'third'],
    ] as const)
      care.heard(transition(group, 'open', why))
    await vi.waitFor(async () =>
      expect(await readBreaker(hub.database.db, ref())).toMatchObject({ state: 'open', why: 'third' }),
    )
    await care.close()
    expect(dropped.inc).toHaveBeenCalledTimes(1)
    expect(await eventTypes()).toEqual(['breaker.opened', 'breaker.opened'])
  })
})

describe('what an operator forces', () => {
  test('is obeyed by every process that runs, and by one that starts later; so is the release', async () => {
    const nodes = [await startNode(), await startNode()]
    await forceBreaker(deps(), ref(), { state: 'open', forMs: 60_000 }, change)
    for (const node of nodes) await vi.waitFor(async () => expect(await refused(node)).toBe(true))
    const late = await startNode()
    expect(await refused(late)).toBe(true)
    await releaseBreaker(deps(), ref(), change)
    for (const node of [...nodes, late]) await vi.waitFor(async () => expect(await refused(node)).toBe(false))
  })

  test('is obeyed although what was read before it arrives after it', async () => {
    const { db } = hub.database
    let reads = 0
    let arrive = (): void => undefined
    const slowOnce: Db = {
      ...db,
      execute: async <Row extends QueryResultRow>(...asked: Parameters<Db['execute']>) => {
        reads += 1
        const late = reads === 2
        const answer = await db.execute<Row>(...asked)
        if (late)
          await new Promise<void>((resolve) => {
            arrive = resolve
          })
        return answer
      },
    }
    const node = await startNode(slowOnce)
    await db.transaction((tx) => tellBreakers(tx, hub.tenantId))
    await vi.waitFor(() => expect(reads).toBe(2))
    await forceBreaker(deps(), ref(), { state: 'open', forMs: 60_000 }, change)
    // By now an answer of its own would have come for the force, if it were asked for beside the late one.
    await vi.waitFor(async () => expect((await listLiveBreakers(db, {})).length).toBe(1))
    arrive()
    await vi.waitFor(async () => expect(await refused(node)).toBe(true))
    await vi.waitFor(() => expect(reads).toBe(3))
    expect(await refused(node)).toBe(true)
  })

  test('closed lets calls pass however many fail, until its time is over', async () => {
    const breakers = await startNode()
    await failThrice(breakers)
    expect(await refused(breakers)).toBe(true)
    await forceBreaker(deps(), ref(), { state: 'closed', forMs: 60_000 }, change)
    await vi.waitFor(async () => expect(await refused(breakers)).toBe(false))
    await failThrice(breakers)
    expect(await refused(breakers)).toBe(false)
  })
})
