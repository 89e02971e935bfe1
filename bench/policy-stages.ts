import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { systemClock, systemRandom } from '../server/src/platform/clock.ts'
import { breakerStage } from '../server/src/resilience/breaker-stage.ts'
import { createBreakers } from '../server/src/resilience/breakers.ts'
import { bulkhead } from '../server/src/resilience/bulkhead.ts'
import { createBulkheads } from '../server/src/resilience/bulkhead-places.ts'
import { cache } from '../server/src/resilience/cache.ts'
import { coalesce, createCallsUnderWay } from '../server/src/resilience/coalesce.ts'
import { attemptTimeout, totalDeadline } from '../server/src/resilience/deadline.ts'
import { fallback } from '../server/src/resilience/fallback.ts'
import { hedge } from '../server/src/resilience/hedge.ts'
import { createLatencies } from '../server/src/resilience/latency.ts'
import { type CallResult, outermost, runPipeline, type StageOf } from '../server/src/resilience/pipeline.ts'
import { rateLimit } from '../server/src/resilience/rate-limit.ts'
import { createResponseCache } from '../server/src/resilience/response-cache.ts'
import { retry } from '../server/src/resilience/retry.ts'
import { createRetryBudgets } from '../server/src/resilience/retry-budget.ts'
import { createMemoryStore } from '../server/src/resilience/stores/memory.ts'
import { BREAKER_SETTINGS } from '../server/testing/breaker-settings.ts'

/**
 * What the stages of a policy cost a call, in memory and with nothing to wait for: `node bench/policy-stages.ts`.
 * Stages are made anew for every call, as `/execute` makes them, over state that all calls share. Prints ns per
 * call (median and range of the rounds) for all of them together and for each added alone.
 */
const GOAL_NS = 10_000
const CALLS = 20_000
const TENANTS = 20

const { values: args } = parseArgs({ options: { rounds: { type: 'string', default: '11' } } })
const rounds = Number(args.rounds)

const clock = systemClock
const store = createMemoryStore({ clock })
const budgets = createRetryBudgets({ clock })
const bulkheads = createBulkheads({ clock })
const breakers = createBreakers({
  clock,
  random: systemRandom,
  store,
  onTransition: ({ to, why }) => {
    throw new Error(`A breaker became ${to}: ${why}`)
  },
})
const responses = createResponseCache({ clock })
const callsUnderWay = createCallsUnderWay()
const latencies = createLatencies()
const schedule = { kind: 'exponential', maxAttempts: 4, baseMs: 250, factor: 2, capMs: 5_000 } as const
// High enough that no call is refused; the work of deciding is the same.
const limit = { permits: 1_000_000_000, periodMs: 1_000, burst: 1_000_000_000 }
const never = (): never => {
  throw new Error('No call of this benchmark may be refused, repeated or only watched.')
}

type Make = (group: string) => StageOf<CallResult>

/** Those that a policy has to ask for. */
const ON_DEMAND = new Set(['cache (a miss)', 'coalesce (nobody to share with)', 'hedge (not needed)'])
/** Each call asks for another answer, so the cache never has it and always keeps it. */
let asked = 0

/** Outer to inner, as DESIGN §8 has them. */
const STAGES: Readonly<Record<string, Make>> = {
  fallback: () => fallback({ type: 'static', output: null, onFallback: never }),
  'total deadline': () => totalDeadline({ totalMs: 15_000, clock }),
  'cache (a miss)': () => {
    asked += 1
    return cache({ cache: responses, key: `answer ${asked}`, ttlMs: 60_000, maxStaleMs: 0 })
  },
  'coalesce (nobody to share with)': (group) => coalesce({ calls: callsUnderWay, key: group, clock }),
  'rate limit (workspace, connector)': (group) =>
    rateLimit({
      store,
      group,
      rules: [
        { name: 'workspace', key: 'workspace', limit, cost: 1, enforced: true },
        { name: 'connector', key: 'connector/stripe', limit, cost: 1, enforced: true },
      ],
      onWouldHave: never,
    }),
  bulkhead: (group) =>
    bulkhead({
      bulkheads,
      group,
      key: 'stripe',
      settings: {
        mode: 'enforce',
        maxInFlight: 50,
        maxWaiting: 50,
        waitMs: 1_000,
        workspaceMode: 'enforce',
        workspaceMaxInFlight: 100,
      },
      onWouldHave: never,
    }),
  'retry with budget': (group) =>
    retry({
      schedule,
      clock,
      random: systemRandom,
      onFailure: never,
      budget: {
        budgets,
        group,
        key: 'stripe',
        settings: { mode: 'enforce', tokens: 500, maxRatio: 0.2, minConcurrent: 3 },
        onWouldHave: never,
      },
    }),
  'hedge (not needed)': (group) =>
    hedge({ delayMs: 1_000, latency: latencies.of(group, 'stripe/charge'), clock, onHedge: never }),
  breaker: (group) =>
    breakerStage({
      breakers,
      group,
      key: 'stripe',
      clock,
      onWouldHave: never,
      rule: { mode: 'enforce', settings: BREAKER_SETTINGS },
    }),
  'attempt timeout': () => attemptTimeout({ attemptMs: 10_000, clock }),
}

const groups = Array.from(
  { length: TENANTS },
  (_, index) => `0193a0c4-0000-7000-8000-${String(index).padStart(12, '0')}`,
)
const processSignal = new AbortController().signal
const answer: CallResult = { output: { ok: true }, httpStatus: 200 }
let answered = 0
const call = async (): Promise<CallResult> => {
  answered += 1
  return answer
}

/** ns per call; throws when a call failed or was not made. */
async function round(makes: readonly Make[]): Promise<number> {
  const before = answered
  const began = process.hrtime.bigint()
  for (let index = 0; index < CALLS; index += 1) {
    const group = groups[index % TENANTS] ?? ''
    const stages = makes.map((make) => make(group))
    const result = await runPipeline(stages, outermost(processSignal), call)
    if (result !== answer) throw new Error('A call was not answered by its upstream.')
  }
  const ns = Number(process.hrtime.bigint() - began) / CALLS
  if (answered - before !== CALLS)
    throw new Error(`${answered - before} of ${CALLS} calls reached the upstream.`)
  return ns
}

const cases = new Map<string, readonly Make[]>([
  ['the call without any stage', []],
  ...Object.entries(STAGES).map(([name, make]): [string, Make[]] => [`only ${name}`, [make]]),
  ['all stages', Object.entries(STAGES).flatMap(([name, make]) => (ON_DEMAND.has(name) ? [] : [make]))],
  ['all, and those on demand', Object.values(STAGES)],
])
const times = new Map([...cases.keys()].map((name): [string, number[]] => [name, []]))
// The first rounds warm up; rounds of all cases are interleaved, so that a busy moment hits all of them.
for (let count = -2; count < rounds; count += 1)
  for (const [name, makes] of cases) {
    const ns = await round(makes)
    if (count >= 0) times.get(name)?.push(ns)
  }

const print = (line: string) => process.stdout.write(`${line}\n`)
print(`Policy stages in memory, ns per call, median of ${rounds} rounds of ${CALLS} calls (range)`)
print(`Node ${process.version}, ${cpus()[0]?.model ?? 'unknown processor'}`)
for (const [name, all] of times) {
  const sorted = all.toSorted((a, b) => a - b)
  const [least = 0, median = 0, most = 0] = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)]
  print(`${median.toFixed(0).padStart(7)}  ${name} (${least.toFixed(0)}–${most.toFixed(0)})`)
  if (name === 'all stages' && median > GOAL_NS) {
    print(`The goal of ${GOAL_NS} ns is missed.`)
    process.exitCode = 1
  }
}
breakers.close()
await store.close()
