import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { sampleClaim } from '../../../testing/execution-keys.ts'
import { hashOf } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { many, run } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import {
  type Busy,
  claimKeys,
  endKeys,
  findKey,
  type KeyClaim,
  type KeyEnd,
  loseExecutions,
  removeExpired,
  takeDue,
} from './execution-keys.sql.ts'
import { settleExecution } from './executions.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await testDatabase()
})
afterAll(() => database.drop())

interface Row {
  readonly key: string
  readonly state: string
  readonly lease: number
  readonly execution_id: string
  readonly due: boolean
}
const rowsOf = many<{ readonly tenantId: string }, Row>(
  'test.keys',
  `select key, state, lease, execution_id, next_try_at is not null as due from execution_key
   where tenant_id = $1 order by key`,
  ({ tenantId }) => [tenantId],
)
type OfKey = { readonly tenantId: string; readonly key: string }
const shift = (name: string, change: string) =>
  run<OfKey>(
    name,
    `update execution_key set ${change} where tenant_id = $1 and key = $2`,
    ({ tenantId, key }) => [tenantId, key],
  )
const past = (column: string) => `${column} = clock_timestamp() - interval '1 second'`
const endLease = shift('test.end_lease', past('lease_until'))
const expireKey = shift('test.expire_key', past('expires_at'))
const makeOld = shift('test.make_old', `created_at = clock_timestamp() - interval '21 hours'`)
const makeDue = shift(
  'test.make_due',
  `next_try_at = case when next_try_at is not null then clock_timestamp() - interval '1 second' end`,
)

const makeWorkspace = run<{ readonly tenantId: string }>(
  'test.workspace',
  `insert into workspace (id, slug, name, environment) values ($1, $2, 'Test', 'dev')`,
  ({ tenantId }) => [tenantId, `w${tenantId.replaceAll('-', '')}-dev`],
)
const newTenant = async (): Promise<string> => {
  const tenantId = newId()
  await makeWorkspace(database.db, { tenantId })
  return tenantId
}

const KEYS = ['k1', 'k2'] as const
type Key = (typeof KEYS)[number]

/** What is known of a key, by the rules of the head comment of the migration; nothing of the statements is in it. */
interface Model {
  state: 'running' | 'finished' | 'unknown'
  execution: string
  lease: number
  leaseOver: boolean
  print: string
  repeatable: boolean
  safe: boolean
  /** The worker may run it again. */
  rerunnable: boolean
  expired: boolean
  old: boolean
  tries: number
  due: boolean
}
interface Holder {
  readonly key: Key
  readonly execution: string
  readonly lease: number
}

const anyKey = fc.constantFrom(...KEYS)
const anyCall = fc.record({
  key: anyKey,
  print: fc.constantFrom('a', 'b'),
  repeatable: fc.boolean(),
  rerunnable: fc.boolean(),
  safe: fc.boolean(),
})
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      calls: fc.array(anyCall, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('end' as const),
      holder: fc.nat(),
      to: fc.constantFrom('finished' as const, 'unknown' as const, 'released' as const),
      again: fc.boolean(),
      counts: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      what: fc.constantFrom('crash' as const, 'expire' as const, 'age' as const),
      key: anyKey,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('care' as const),
      what: fc.constantFrom('lose' as const, 'rerun' as const, 'forget' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      key: anyKey,
      outcome: fc.constantFrom('done' as const, 'not_done' as const),
    }),
  },
)

test('every interleaving of calls, ends, crashes, expiry and settlements goes by the rules', async () => {
  const { db } = database
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
      const tenantId = await newTenant()
      const model = new Map<Key, Model>()
      const holders: Holder[] = []
      const becomeUnknown = (of: Model, due: boolean): void => {
        of.state = 'unknown'
        of.expired = false
        of.due = due
      }

      const call = async (
        calls: readonly {
          key: Key
          print: string
          repeatable: boolean
          rerunnable: boolean
          safe: boolean
        }[],
      ) => {
        const claims = calls.map(({ key, print, repeatable, rerunnable, safe }) =>
          sampleClaim({
            tenantId,
            key,
            fingerprint: hashOf(print),
            executionId: newId(),
            repeatable,
            safe: repeatable && !rerunnable && safe,
            input: repeatable && rerunnable ? '{"a":1}' : undefined,
          }),
        )
        const winners = new Set<number>()
        for (const key of KEYS) {
          const own = calls.flatMap((each, at) => (each.key === key ? [at] : []))
          const [firstAt] = own
          const first = firstAt === undefined ? undefined : calls[firstAt]
          const claim = firstAt === undefined ? undefined : claims[firstAt]
          if (firstAt === undefined || !first || !claim) continue
          const before = model.get(key)
          if (!before || (before.expired && before.state !== 'running')) {
            model.set(key, {
              state: 'running',
              execution: claim.executionId,
              lease: 1,
              leaseOver: false,
              print: first.print,
              repeatable: first.repeatable,
              rerunnable: claim.input !== undefined,
              safe: claim.safe,
              expired: false,
              old: false,
              tries: 0,
              due: false,
            })
            winners.add(firstAt)
            continue
          }
          const same = own.filter((at) => calls[at]?.print === before.print)
          if (before.state === 'running' && before.leaseOver && same.length > 0)
            becomeUnknown(before, before.rerunnable)
          const taker = same.find((at) => calls[at]?.repeatable)
          if (before.state === 'unknown' && before.repeatable && !before.old && taker !== undefined) {
            Object.assign(before, { state: 'running', lease: before.lease + 1, leaseOver: false, due: false })
            winners.add(taker)
          }
        }
        const rows = await claimKeys(db, { claims })
        expect(rows).toHaveLength(calls.length)
        for (const row of rows) {
          const asked = calls[row.ord]
          const now = asked && model.get(asked.key)
          if (!asked || !now) throw new Error('a row for nothing')
          const verdict =
            asked.print !== now.print ? 'mismatch' : winners.has(row.ord) ? 'claimed' : now.state
          expect(row).toMatchObject({ verdict, execution_id: now.execution, lease: now.lease })
          if (verdict === 'claimed')
            holders.push({ key: asked.key, execution: now.execution, lease: now.lease })
        }
      }

      const end = async (holder: Holder, to: KeyEnd['to'], again: boolean, counts: boolean) => {
        const { key, execution, lease } = holder
        const now = model.get(key)
        const holds = now?.execution === execution && now.lease === lease && now.state !== 'finished'
        if (now && holds) {
          if (to === 'released') model.delete(key)
          else if (to === 'finished') Object.assign(now, { state: to, due: false })
          else {
            becomeUnknown(now, again && now.rerunnable && now.tries < 8 && !now.old)
            if (counts) now.tries += 1
          }
        }
        const ended = {
          tenantId,
          key,
          executionId: execution,
          lease,
          to,
          again,
          counts,
          outcome: 'x',
          status: 200,
          answer: '{}',
        }
        expect(await endKeys(db, { ends: [ended] })).toHaveLength(holds ? 1 : 0)
      }

      for (const each of steps) {
        if (each.do === 'call') await call(each.calls)
        else if (each.do === 'end') {
          const holder = holders[each.holder % Math.max(1, holders.length)]
          if (holder) await end(holder, each.to, each.again, each.counts)
        } else if (each.do === 'pass') {
          const { key, what } = each
          const change = { crash: endLease, expire: expireKey, age: makeOld }[what]
          await change(db, { tenantId, key })
          const now = model.get(key)
          if (now)
            Object.assign(
              now,
              { crash: { leaseOver: true }, expire: { expired: true }, age: { old: true } }[what],
            )
        } else if (each.do === 'care' && each.what === 'lose') {
          await loseExecutions(db, { since: undefined, maxRows: 10_000 })
          for (const [key, now] of model)
            if (now.state === 'running' && now.leaseOver) {
              if (now.safe) model.delete(key)
              else becomeUnknown(now, now.rerunnable)
            }
        } else if (each.do === 'care' && each.what === 'rerun') {
          for (const key of KEYS) await makeDue(db, { tenantId, key })
          const taken = await takeDue(db, { limit: 10, leaseMs: 60_000, busy: [] })
          const due = [...model].filter(([, now]) => now.state === 'unknown' && now.due)
          expect(taken.map(({ key, too_late }) => [key, too_late]).sort()).toEqual(
            due.map(([key, { old }]) => [key, old]).sort(),
          )
          for (const [key, now] of due) {
            Object.assign(now, { state: 'running', lease: now.lease + 1, leaseOver: false, due: false })
            holders.push({ key, execution: now.execution, lease: now.lease })
          }
        } else if (each.do === 'care') {
          await removeExpired(db, { limit: 10 })
          for (const [key, now] of model)
            if (now.expired && (now.state !== 'running' || now.leaseOver)) model.delete(key)
        } else {
          const now = model.get(each.key)
          const open = now && (now.state === 'unknown' || (now.state === 'running' && now.leaseOver))
          const settlement = { tenantId, id: now?.execution ?? newId(), outcome: each.outcome, output: 1 }
          const settled = await settleExecution(db, settlement, CHANGE).then(
            () => 'settled',
            (error: unknown) => (error instanceof Problem ? error.code : error),
          )
          expect(settled).toBe(open ? 'settled' : now ? 'conflict' : 'not_found')
          if (now && open) {
            if (each.outcome === 'not_done') model.delete(each.key)
            else Object.assign(now, { state: 'finished', lease: now.lease + 1, due: false })
          }
        }
        const expected = [...model]
          .map(([key, now]) => ({
            key,
            state: now.state,
            lease: now.lease,
            execution_id: now.execution,
            due: now.due,
          }))
          .sort((a, b) => (a.key < b.key ? -1 : 1))
        expect(await rowsOf(db, { tenantId })).toEqual(expected)
      }
      // What this run leaves must not be due in the next one.
      for (const { key } of await rowsOf(db, { tenantId })) {
        const { execution_id: executionId, lease } =
          (await rowsOf(db, { tenantId })).find((row) => row.key === key) ?? {}
        if (executionId && lease)
          await endKeys(db, { ends: [{ tenantId, key, executionId, lease, to: 'released' }] })
      }
    }),
    { numRuns: 150 },
  )
}, 120_000)

test('of many parallel claims of one key, in batches of several connections, one is granted', async () => {
  const { db } = database
  const tenantId = newId()
  const keys = Array.from({ length: 20 }, (_, at) => `key-${at}`)
  const batch = () => {
    const order = keys.map((key) => ({ key, at: Math.random() })).sort((a, b) => a.at - b.at)
    return claimKeys(db, {
      claims: order.map(({ key }) => sampleClaim({ tenantId, key, executionId: newId() })),
    })
  }
  const verdicts = (await Promise.all(Array.from({ length: 30 }, batch))).flat().map(({ verdict }) => verdict)
  expect(verdicts.filter((verdict) => verdict === 'claimed')).toHaveLength(keys.length)
  expect(new Set(verdicts)).toEqual(new Set(['claimed', 'running']))
  // All died: one of those who come next takes each of them up.
  for (const key of keys) await endLease(db, { tenantId, key })
  const again = () =>
    claimKeys(db, {
      claims: keys.map((key) => sampleClaim({ tenantId, key, executionId: newId(), repeatable: true })),
    })
  const after = (await Promise.all(Array.from({ length: 10 }, again))).flat()
  // They were begun by calls that may not be repeated.
  expect(new Set(after.map(({ verdict }) => verdict))).toEqual(new Set(['unknown']))
})

test('a taken-up execution is taken up once, however many ask', async () => {
  const { db } = database
  const tenantId = newId()
  const claim = () => sampleClaim({ tenantId, key: 'k', executionId: newId(), repeatable: true, input: '1' })
  await claimKeys(db, { claims: [claim()] })
  await endLease(db, { tenantId, key: 'k' })
  const asked = await Promise.all(
    Array.from({ length: 20 }, () => claimKeys(db, { claims: [claim(), claim(), claim()] })),
  )
  const claimed = asked.flat().filter(({ verdict }) => verdict === 'claimed')
  expect(claimed.map(({ lease }) => lease)).toEqual([2])
})

test('the key of another workspace is a miss', async () => {
  const { db } = database
  const [one, other] = [newId(), newId()]
  const executionId = newId()
  await claimKeys(db, { claims: [sampleClaim({ tenantId: one, key: 'k', executionId })] })
  const [row] = await claimKeys(db, {
    claims: [sampleClaim({ tenantId: other, key: 'k', executionId: newId() })],
  })
  expect(row).toMatchObject({ verdict: 'claimed', lease: 1 })
  const fingerprint = hashOf('a request')
  expect(await findKey(db, { tenantId: newId(), key: 'k', fingerprint })).toBeUndefined()
  expect(await findKey(db, { tenantId: one, key: 'k', fingerprint })).toMatchObject({
    execution_id: executionId,
  })
  const foreign = { tenantId: other, key: 'k', executionId, lease: 1, to: 'released' } as const
  expect(await endKeys(db, { ends: [foreign] })).toEqual([])
})

const touched = many<undefined, { readonly updated: number; readonly hot: number; readonly fetched: number }>(
  'test.touched',
  `select n_tup_upd as updated, n_tup_hot_upd as hot, idx_tup_fetch as fetched
   from pg_stat_xact_user_tables where relname = 'execution_key'`,
  () => [],
)

test('a claim reads no more rows when there are more of them, and a finish touches no index', async () => {
  const tenantId = newId()
  const answer = JSON.stringify({ status: 'ok', output: 'x'.repeat(300) })
  const [before, after] = await database.db.transaction(async (tx) => {
    const [first] = await touched(tx, undefined)
    for (let batch = 0; batch < 20; batch += 1) {
      const claims = Array.from({ length: 10 }, () =>
        sampleClaim({ tenantId, key: newId(), executionId: newId() }),
      )
      await claimKeys(tx, { claims })
      const ends = claims.map(
        ({ key, executionId }): KeyEnd => ({
          ...{ tenantId, key, executionId, lease: 1, to: 'finished', outcome: 'ok', status: 200 },
          answer,
        }),
      )
      await endKeys(tx, { ends })
    }
    return [first, (await touched(tx, undefined))[0]]
  })
  if (!before || !after) throw new Error('no statistics')
  expect(after.updated - before.updated).toBe(200)
  expect(after.hot - before.hot).toBeGreaterThan(160)
  // One for the claim and one for the end; with a plan that reads the rows of the workspace it is thousands.
  expect(after.fetched - before.fetched).toBeLessThan(800)
})

const died = (tenantId: string, count: number, more: Partial<KeyClaim> = {}) =>
  claimKeys(database.db, {
    claims: Array.from({ length: count }, () =>
      sampleClaim({ tenantId, key: newId(), leaseMs: -60_000, ...more }),
    ),
  })
/** Looks at everything in steps of `maxRows`, as the worker does; gives what each step has found. */
async function loseInSteps(maxRows: number): Promise<number[]> {
  const lost: number[] = []
  for (let since: string | undefined; ; ) {
    const step = await loseExecutions(database.db, { since, maxRows })
    lost.push(step.lost)
    since = step.looked_until
    if (!step.more) return lost
  }
}

test('executions of dead processes are found in steps of bounded size, each once', async () => {
  await loseInSteps(10_000)
  const tenantId = newId()
  await died(tenantId, 25)
  const steps = await loseInSteps(5)
  expect(steps.reduce((sum, lost) => sum + lost)).toBe(25)
  expect(Math.max(...steps)).toBeLessThanOrEqual(6)
  const rows = await rowsOf(database.db, { tenantId })
  expect(new Set(rows.map(({ state }) => state))).toEqual(new Set(['unknown']))
})

const fillFinished = run<{ readonly tenantId: string; readonly rows: number }>(
  'test.fill_finished',
  `insert into execution_key (tenant_id, key, execution_id, fingerprint, state, lease_until, repeatable, safe, connector,
     operation, config_version, subject, request_id, correlation_id, traceparent, status, answer, expires_at)
   select $1, 'old-' || n, gen_random_uuid(), decode(repeat('00', 32), 'hex'), 'finished',
     clock_timestamp() - interval '2 hours' + n * interval '1 millisecond', false, false, 'api', 'charge', 1, 'svc:t', 'r',
     'c', '00-0-0-00', 200, '{}', clock_timestamp() + interval '1 day'
   from generate_series(1, $2::int) n`,
  ({ tenantId, rows }) => [tenantId, rows],
)

test('a step reads no more rows than it is given, however many have ended', async () => {
  const tenantId = newId()
  await fillFinished(database.db, { tenantId, rows: 20_000 })
  await database.db.transaction(async (tx) => {
    const [before] = await touched(tx, undefined)
    const { more, lost } = await loseExecutions(tx, { since: undefined, maxRows: 500 })
    const [after] = await touched(tx, undefined)
    expect({ more, lost }).toEqual({ more: true, lost: 0 })
    expect((after?.fetched ?? Number.NaN) - (before?.fetched ?? 0)).toBeLessThan(2_000)
  })
})

test('what is safe is freed when its process died; what is only idempotent becomes unknown', async () => {
  const tenantId = newId()
  await died(tenantId, 1, { key: 'put', repeatable: true })
  await died(tenantId, 1, { key: 'get', repeatable: true, safe: true })
  await loseInSteps(10_000)
  expect(await rowsOf(database.db, { tenantId })).toMatchObject([
    { key: 'put', state: 'unknown', due: false },
  ])
  const put = sampleClaim({ tenantId, key: 'put', repeatable: true })
  expect(await claimKeys(database.db, { claims: [put] })).toMatchObject([{ verdict: 'claimed', lease: 2 }])
})

const suspend = run<{ readonly tenantId: string }>(
  'test.suspend',
  `update workspace set status = 'suspended' where id = $1`,
  ({ tenantId }) => [tenantId],
)

test('those of a suspended workspace are not taken, nor those of a busy workspace or connector', async () => {
  const [one, other, away] = [await newTenant(), await newTenant(), await newTenant()]
  for (const tenantId of [one, other, away])
    for (const connector of ['a', 'b'])
      await died(tenantId, 1, { key: connector, connector, repeatable: true, input: '1' })
  await suspend(database.db, { tenantId: away })
  await loseInSteps(10_000)
  const take = async (busy: readonly Busy[]) => {
    const taken = await takeDue(database.db, { limit: 10, leaseMs: 60_000, busy })
    return taken.map(({ tenant_id, connector }) => [tenant_id, connector]).sort()
  }
  expect(await take([{ tenantId: one }, { tenantId: other, connector: 'a' }])).toEqual([[other, 'b']])
  expect(await take([])).toEqual(
    [
      [one, 'a'],
      [one, 'b'],
      [other, 'a'],
    ].sort(),
  )
})

test('the look for dead executions and those who take them up do not lock each other out', async () => {
  const { db } = database
  const tenantId = newId()
  const keys = Array.from({ length: 100 }, (_, at) => `key-${String(at).padStart(3, '0')}`)
  // The later the key the earlier its lease ended: by the lease the rows come the other way round.
  const claims = (leaseMs: number) =>
    keys.map((key, at) =>
      sampleClaim({ tenantId, key, repeatable: true, input: '1', leaseMs: leaseMs - at * 1_000 }),
    )
  await claimKeys(db, { claims: claims(-60_000) })
  for (let round = 0; round < 15; round += 1) {
    const looks = Array.from({ length: 3 }, () => loseExecutions(db, { since: undefined, maxRows: 10_000 }))
    const calls = Array.from({ length: 3 }, () => claimKeys(db, { claims: claims(-60_000) }))
    await expect(Promise.all([...looks, ...calls])).resolves.toHaveLength(6)
  }
}, 60_000)
