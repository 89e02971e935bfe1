import { setImmediate as tick } from 'node:timers/promises'
import { expect, it, onTestFinished, vi } from 'vitest'
import type { Clock } from '../../platform/clock.ts'
import { ROUTE_DEFAULTS, type WebhookRoute } from './route.ts'
import { indexRoutes, type RouteDirectory, startRouteDirectory } from './route-directory.ts'

const route = (id: string, account: string | null, livemode = false): WebhookRoute => ({
  ...ROUTE_DEFAULTS,
  paused: null,
  version: 1,
  id,
  tenantId: `tenant-of-${id}`,
  provider: 'stripe',
  account,
  livemode,
  connector: 'product',
  secretRefs: ['stripe'],
  queue: 'webhook',
  eventTypes: ['*'],
  emitOnDelivery: [],
  createdAt: new Date(0),
  createdBy: 'test',
})

/** A poll that sleeps until the test wakes it. */
function sleepingClock(): Clock & { wake(): void } {
  let wake = (): void => undefined
  return {
    now: () => 0,
    monotonic: () => 0,
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        wake = resolve
        if (signal?.aborted) reject(signal.reason)
        signal?.addEventListener('abort', () => reject(signal.reason))
      }),
    after: () => () => undefined,
    wake: () => wake(),
  }
}

/** A directory over routes that live in the test; every read can be held back or made to fail. */
function directory(initial: WebhookRoute[]) {
  const state = { generation: 1, routes: initial, reads: 0, down: false, hint: (): void => undefined }
  let gate: Promise<void> = Promise.resolve()
  const clock = sleepingClock()
  const failures = vi.fn()
  const nothing = { execute: () => Promise.reject(new Error('not used')) }
  const started: RouteDirectory = startRouteDirectory({
    db: nothing,
    clock,
    pollMs: 2_000,
    onHint: (handle) => {
      state.hint = handle
      return () => undefined
    },
    onFailure: failures,
    readGeneration: async () => {
      const { generation } = state
      await gate
      if (state.down) throw new Error('down')
      return generation
    },
    readRoutes: async () => {
      state.reads += 1
      return state.routes
    },
  })
  onTestFinished(() => started.close())
  return {
    state,
    clock,
    failures,
    directory: started,
    change: (routes: WebhookRoute[]) => {
      state.routes = routes
      state.generation += 1
    },
    holdReads: () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      return resolve
    },
  }
}

it('finds routes by id, by claim and by own account, each only under its provider and livemode', () => {
  const [claim, live] = [route('1', 'acct_1'), route('2', 'acct_1', true)]
  const [own, other] = [route('3', null), route('4', null)]
  const index = indexRoutes([claim, live, own, other])
  expect(index.byId('stripe', '1')).toBe(claim)
  expect(index.byId('github', '1')).toBeUndefined()
  expect(index.claimedBy('stripe', 'acct_1', false)).toBe(claim)
  expect(index.claimedBy('stripe', 'acct_1', true)).toBe(live)
  expect(index.claimedBy('stripe', 'acct_2', true)).toBeUndefined()
  expect(index.ownAccount('stripe', false)).toEqual([own, other])
  expect(index.ownAccount('stripe', true)).toEqual([])
})

it('waits for the first read, then answers from memory', async () => {
  const { state, directory: routes } = directory([route('1', null)])
  expect((await routes.current()).byId('stripe', '1')?.id).toBe('1')
  await routes.current()
  expect(state.reads).toBe(1)
})

it('reads routes again only when their generation has changed', async () => {
  const { state, change, directory: routes } = directory([])
  const before = await routes.current()
  expect(await routes.refresh()).toBe(before)
  change([route('1', null)])
  const after = await routes.refresh()
  expect(after.byId('stripe', '1')?.id).toBe('1')
  expect(await routes.current()).toBe(after)
  expect(state.reads).toBe(2)
})

it('shows a change that was committed before the call, also when a read was already on its way', async () => {
  const { change, holdReads, directory: routes } = directory([])
  const before = await routes.current()
  const release = holdReads()
  const early = routes.refresh()
  await tick()
  change([route('1', null)])
  const late = routes.refresh()
  release()
  expect(await early).toBe(before)
  expect((await late).byId('stripe', '1')?.id).toBe('1')
})

it('makes a flood of refreshes wait for one read, not for one each', async () => {
  const { state, holdReads, change, directory: routes } = directory([])
  await routes.current()
  const release = holdReads()
  const first = routes.refresh()
  change([route('1', null)])
  const flood = Promise.all(Array.from({ length: 500 }, () => routes.refresh()))
  release()
  await Promise.all([first, flood])
  expect(state.reads).toBe(2)
})

it('learns of changes from hints and from the poll', async () => {
  const { state, clock, change, directory: routes } = directory([])
  await routes.current()
  change([route('1', null)])
  state.hint()
  await vi.waitFor(async () => expect((await routes.current()).byId('stripe', '1')).toBeDefined())
  change([])
  clock.wake()
  await vi.waitFor(async () => expect((await routes.current()).byId('stripe', '1')).toBeUndefined())
})

it('keeps what it knows while the database is down, and says so to who asks for the newest', async () => {
  const { state, failures, directory: routes } = directory([route('1', null)])
  await routes.current()
  state.down = true
  state.hint()
  await vi.waitFor(() => expect(failures).toHaveBeenCalledOnce())
  expect((await routes.current()).byId('stripe', '1')?.id).toBe('1')
  await expect(routes.refresh()).rejects.toThrow('down')
  state.down = false
  expect((await routes.refresh()).byId('stripe', '1')?.id).toBe('1')
})

it('never answers from nothing: without a first read there is an error, not an empty directory', async () => {
  const { state, directory: routes } = directory([route('1', null)])
  state.down = true
  await expect(routes.current()).rejects.toThrow('down')
  state.down = false
  expect((await routes.current()).byId('stripe', '1')?.id).toBe('1')
})
