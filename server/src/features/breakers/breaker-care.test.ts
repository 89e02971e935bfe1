import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { systemClock } from '../../platform/clock.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import type { BreakerRule, Breakers } from '../../resilience/breakers.ts'
import { createLoadShed } from '../../resilience/load-shed.ts'
import { createMemoryStore } from '../../resilience/stores/memory.ts'
import { createGuards } from '../guards/guards.ts'
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

const RULE: BreakerRule = {
  mode: 'enforce',
  settings: {
    consecutiveFailures: 3,
    failureRate: 0.5,
    slowRate: 0.8,
    slowCallMs: 1_000,
    minCalls: 20,
    windowMs: 30_000,
    openMs: 60_000,
    openCapMs: 300_000,
    probes: 5,
    closeRate: 0.6,
    attemptMs: 10_000,
  },
}

/** A process that makes calls, as far as breakers go. */
async function startNode(): Promise<Breakers> {
  const { platform } = hub.database
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
