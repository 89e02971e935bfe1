import { type LaneKey, QUEUES, type QueueName } from './job.ts'
import type { Wanted } from './places.ts'
import { createTurns, type Turns } from './turns.ts'
import { laneName } from './wake-up.ts'
import { createWatermark, type Watermark } from './watermark.ts'

/** What one claim asks of one lane. */
export interface Grant extends LaneKey {
  readonly take: number
  readonly low: readonly number[]
}

/**
 * What the claim found: `more` may wait, the lane is `drained`, its caps left less room than asked (`capped`),
 * it is `blocked` for a time or `paused`, or another node was at the tenant (`contended`).
 */
export interface LaneAnswer {
  readonly verdict: 'more' | 'drained' | 'capped' | 'blocked' | 'paused' | 'contended'
  readonly taken: number
  readonly last: readonly (number | null)[]
  readonly wait_ms: number | null
}

/** A lane found by the discovery scan: its first waiting row and the weight of its tenant. */
export interface FoundLane extends LaneKey {
  readonly priority: number
  readonly seq: number
  readonly weight: number
}

/** The lanes that one node believes to have work, in memory. Losing it costs one discovery scan, never a job. */
export interface Lanes {
  /** Lanes that got work. One that is parked stays so: new jobs do not change why. */
  hint(lanes: readonly LaneKey[]): void
  /** Lanes with work that are neither paused nor blocked; this is how a node hears that a block was ended. */
  found(lanes: readonly FoundLane[]): void
  /** Deals places to lanes: `shared` ones to any queue, `reserved` ones to `critical` only. */
  plan(wanted: Wanted): Grant[]
  answered(grants: readonly Grant[], answers: readonly LaneAnswer[]): void
  /** A job of the lane has ended: lanes of its tenant that are at a cap may have room, and a probe has its answer. */
  settled(lane: LaneKey): void
  /** Milliseconds until a parked lane is due; undefined when none is parked. */
  nextDueMs(): number | undefined
  /** Lanes that have a turn now. */
  readonly active: number
  /** Those of them that were idle until a hint, and that no claim has asked since. */
  readonly fresh: number
}

interface Lane {
  readonly key: LaneKey
  readonly watermark: Watermark
  /** In its turn ring, or waiting for a time, or only remembered for its watermark. */
  place: 'active' | 'parked' | 'idle'
  parkedUntilMs: number
  parkedFor: 'cap' | 'block' | 'probe' | undefined
  /** Was blocked: one job goes first and looks whether it would be again, so that not all hear it. */
  probing: boolean
  /** Rises with every hint, so that a hint that arrives during a claim outlives the claim's "drained". */
  hints: number
  hintsAtPlan: number
  lastUsedMs: number
}

/** Share of the places when every queue has work: `low` is slow, but never starves. */
const QUEUE_WEIGHT: Record<QueueName, number> = { critical: 8, webhook: 4, default: 2, low: 1 }
const QUEUE_NAMES = Object.keys(QUEUES) as QueueName[]
/** Lanes per claim statement. */
const MAX_GRANTS = 64
/** Other nodes' jobs may end without us hearing of it. */
const CAP_RECHECK_MS = 100
/** A job that runs this long has not been told at once to wait. */
const PROBE_MS = 1_000
/** A watermark that was not used for this long is forgotten. */
const FORGET_MS = 600_000

export function createLanes(now: () => number): Lanes {
  const lanes = new Map<string, Lane>()
  const parked = new Set<Lane>()
  const fresh = new Set<Lane>()
  const turns = Object.fromEntries(QUEUE_NAMES.map((queue) => [queue, createTurns<Lane>()])) as Record<
    QueueName,
    Turns<Lane>
  >
  const credit: Record<QueueName, number> = { critical: 0, webhook: 0, default: 0, low: 0 }
  let sweptAtMs = now()

  const laneOf = (key: LaneKey): Lane => {
    const name = laneName(key)
    const known = lanes.get(name)
    if (known) return known
    const { queue, tenantId, lane } = key
    const created: Lane = {
      key: { queue, tenantId, lane },
      watermark: createWatermark(),
      place: 'idle',
      parkedUntilMs: 0,
      parkedFor: undefined,
      probing: false,
      hints: 0,
      hintsAtPlan: 0,
      lastUsedMs: now(),
    }
    lanes.set(name, created)
    return created
  }

  const activate = (lane: Lane): void => {
    parked.delete(lane)
    if (lane.parkedFor === 'block') lane.probing = true
    lane.place = 'active'
    lane.parkedFor = undefined
    lane.lastUsedMs = now()
    turns[lane.key.queue].add(lane.key.tenantId, laneName(lane.key), lane)
  }

  const deactivate = (lane: Lane): void => {
    fresh.delete(lane)
    lane.place = 'idle'
    turns[lane.key.queue].remove(lane.key.tenantId, laneName(lane.key))
  }

  const park = (lane: Lane, why: 'cap' | 'block' | 'probe', forMs: number): void => {
    deactivate(lane)
    lane.place = 'parked'
    lane.parkedFor = why
    lane.parkedUntilMs = now() + forMs
    parked.add(lane)
  }

  const unparkDue = (): void => {
    for (const lane of parked) if (lane.parkedUntilMs <= now()) activate(lane)
  }

  const forgetUnused = (): void => {
    if (now() - sweptAtMs < FORGET_MS) return
    sweptAtMs = now()
    for (const [name, lane] of lanes)
      if (lane.place === 'idle' && now() - lane.lastUsedMs > FORGET_MS) lanes.delete(name)
  }

  /** Smooth weighted round robin over the queues that have a turn; keeps its place between plans. */
  const nextQueue = (): QueueName | undefined => {
    const ready = QUEUE_NAMES.filter((queue) => turns[queue].size > 0)
    const [first] = ready
    if (first === undefined) return undefined
    let best = first
    for (const queue of ready) {
      credit[queue] += QUEUE_WEIGHT[queue]
      if (credit[queue] > credit[best]) best = queue
    }
    credit[best] -= ready.reduce((sum, queue) => sum + QUEUE_WEIGHT[queue], 0)
    return best
  }

  return {
    get active() {
      return QUEUE_NAMES.reduce((sum, queue) => sum + turns[queue].size, 0)
    },
    get fresh() {
      return fresh.size
    },
    hint: (keys) => {
      for (const key of keys) {
        const lane = laneOf(key)
        lane.hints += 1
        if (lane.place !== 'idle') continue
        activate(lane)
        fresh.add(lane)
      }
    },
    found: (found) => {
      for (const { priority, seq, weight, ...key } of found) {
        const lane = laneOf(key)
        lane.watermark.seen(priority, seq)
        turns[key.queue].weigh(key.tenantId, weight)
        // The scan leaves out what is shut, so somebody has ended the block before its time.
        if (lane.place === 'idle' || lane.parkedFor === 'block') activate(lane)
      }
      forgetUnused()
    },
    plan: ({ shared, reserved, turn }) => {
      unparkDue()
      const takes = new Map<Lane, number>()
      const deal = (places: number, most: number, queueFor: () => QueueName | undefined): void => {
        const may = (lane: Lane): boolean => takes.size < most || takes.has(lane)
        for (let place = 0; place < places; place += 1) {
          const queue = queueFor()
          const lane = queue && turns[queue].next(turn, may)
          if (lane === undefined) return
          takes.set(lane, (takes.get(lane) ?? 0) + 1)
        }
      }
      // Many lanes of critical must not use up the claim while places are free for the others.
      deal(reserved, MAX_GRANTS - Math.min(shared, MAX_GRANTS / 2), () => 'critical')
      deal(shared, MAX_GRANTS, nextQueue)
      return [...takes].map(([lane, take]) => {
        lane.hintsAtPlan = lane.hints
        fresh.delete(lane)
        return { ...lane.key, take: lane.probing ? 1 : take, low: lane.watermark.low() }
      })
    },
    answered: (grants, answers) => {
      for (const [index, grant] of grants.entries()) {
        const answer = answers[index]
        const lane = lanes.get(laneName(grant))
        if (answer === undefined || lane === undefined) continue
        lane.lastUsedMs = now()
        lane.watermark.claimed(answer.last, now())
        const probed = lane.probing && answer.taken > 0
        if (probed) lane.probing = false
        if (answer.verdict === 'capped') park(lane, 'cap', CAP_RECHECK_MS)
        else if (answer.verdict === 'blocked') park(lane, 'block', answer.wait_ms ?? CAP_RECHECK_MS)
        // The discovery scan leaves paused lanes out and brings them back when they are resumed.
        else if (answer.verdict === 'paused') deactivate(lane)
        else if (probed) park(lane, 'probe', PROBE_MS)
        else if (answer.verdict === 'drained' && lane.hints === lane.hintsAtPlan) deactivate(lane)
      }
    },
    settled: (key) => {
      const probed = lanes.get(laneName(key))
      if (probed?.parkedFor === 'probe') activate(probed)
      for (const lane of parked)
        if (lane.parkedFor === 'cap' && lane.key.tenantId === key.tenantId) activate(lane)
    },
    nextDueMs: () => {
      let due: number | undefined
      for (const { parkedUntilMs } of parked) due = Math.min(due ?? parkedUntilMs, parkedUntilMs)
      return due === undefined ? undefined : Math.max(0, due - now())
    },
  }
}
