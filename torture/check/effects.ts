import type { AttemptRow, JobRow, SinkRequest } from '../history.ts'
import { CAUSE_OF, type Cause, CLOCK_MS, type Ledger } from './ledger.ts'
import { nameOf } from './places.ts'

export interface EffectFigures {
  readonly requests: number
  readonly effects: number
  /** Effects beyond the first of a job, by what made the job run again. */
  readonly duplicates: Readonly<Record<Cause, number>>
}

export interface EffectFindings {
  readonly figures: EffectFigures
  readonly keyChanged: string[]
  readonly unexplained: string[]
  readonly late: string[]
  /** Leases that somebody else ended. */
  readonly strangers: string[]
  readonly unaccounted: string[]
}

/** A claim looks at the time a moment before it writes down the start. */
const CLAIM_MS = 500

/** Holds what the sink saw against the attempts that the hub believes to have made. */
export function checkEffects(ledger: Ledger): EffectFindings {
  const { history } = ledger
  const duplicates = { kill: 0, stop: 0, pause: 0, database: 0, cut: 0, lost_answer: 0, unexplained: 0 }
  const keyChanged: string[] = []
  const unexplained: string[] = []
  const late: string[] = []
  const strangers: string[] = []
  const unaccounted: string[] = []

  for (const job of history.tables.jobs) {
    const requests = ledger.requestsOf(job.id)
    const keys = new Set(requests.map(({ key }) => key))
    if (keys.size > 1) keyChanged.push(`${nameOf(job)}: ${[...keys].join(', ')}`)
    strangers.push(...strangersOf(ledger, job).map((fault) => `${nameOf(job)}: ${fault}`))

    for (const { lease, started } of ledger.attemptsOf(job.id))
      if (job.expires !== null && started > job.expires + CLAIM_MS)
        late.push(`${nameOf(job)}: lease ${lease} began ${Math.round(started - job.expires)} ms too late`)

    const effects = requests.filter(({ effect }) => effect)
    for (const [at, effect] of effects.entries()) {
      const before = effects[at - 1]
      if (!before) continue
      const cause = causeOfRepeat(ledger, job, before, effect)
      duplicates[cause] += 1
      if (cause === 'unexplained')
        unexplained.push(`${nameOf(job)}: an effect at ${clockOf(before)} and again at ${clockOf(effect)}`)
    }
    for (const request of requests)
      if (
        !ledger.attemptOf(job.id, request) &&
        !causeOfOrphan(ledger, job, request) &&
        !isRunning(ledger, job)
      )
        unaccounted.push(`${nameOf(job)}: a request at ${clockOf(request)} belongs to no attempt`)
  }
  const homeless = history.requests.length - countRequests(ledger)
  if (homeless > 0) unaccounted.push(`${homeless} requests at the sink belong to no job at all`)

  const effects = history.requests.filter(({ effect }) => effect).length
  return {
    figures: { requests: history.requests.length, effects, duplicates },
    keyChanged,
    unexplained,
    late,
    strangers,
    unaccounted,
  }
}

const countRequests = (ledger: Ledger): number =>
  ledger.history.tables.jobs.reduce((sum, { id }) => sum + ledger.requestsOf(id).length, 0)

const isRunning = ({ history }: Ledger, { id }: JobRow): boolean =>
  history.tables.places.some(({ job, place }) => job === id && place === 'run')

const clockOf = ({ start }: SinkRequest): string => new Date(start).toISOString().slice(11, 23)

/**
 * Leases that were not ended by who held them. A lease that ended as done must have got a 2xx for a request that
 * began within it; two leases of one job may never live at once.
 */
function strangersOf(ledger: Ledger, job: JobRow): string[] {
  const attempts = ledger.attemptsOf(job.id)
  const requests = ledger.requestsOf(job.id)
  const faults: string[] = []
  for (const [at, attempt] of attempts.entries()) {
    const next = attempts[at + 1]
    if (next && next.started < attempt.ended)
      faults.push(`lease ${next.lease} began before lease ${attempt.lease} had ended`)
    if (attempt.outcome === 'done' && !requests.some((request) => answered(request, attempt)))
      faults.push(`lease ${attempt.lease} ended as done before any request of its own had been answered`)
  }
  return faults
}

const answered = ({ start, end, status }: SinkRequest, { started, ended }: AttemptRow): boolean =>
  status !== null && status < 300 && start >= started - CLOCK_MS && end !== null && end <= ended + CLOCK_MS

/**
 * Why a request came that belongs to none of the leases: its worker did not know yet that the lease had been taken
 * away, or the way to the sink held it back until the lease had ended.
 */
function causeOfOrphan(ledger: Ledger, job: JobRow, request: SinkRequest): Cause | undefined {
  for (const attempt of ledger.attemptsOf(job.id)) {
    if (attempt.started > request.start) continue
    const cause = bereft(ledger, attempt) ?? (isHeldBack(ledger, attempt, request) ? 'cut' : undefined)
    if (cause) return cause
  }
  return undefined
}

/** A link delivers what it held back when it opens; on a busy machine not at that very moment. */
const DELIVERY_MS = 1_000

const isHeldBack = ({ history }: Ledger, { started, ended }: AttemptRow, { start }: SinkRequest): boolean =>
  history.troubles.some(
    ({ kind, target, from, to }) =>
      kind === 'stall' &&
      target === 'workers>sink' &&
      from <= ended &&
      to >= started &&
      start >= from &&
      start <= to + DELIVERY_MS,
  )

/** Why the worker of an attempt may have gone on after the attempt had ended. */
function bereft(ledger: Ledger, attempt: AttemptRow): Cause | undefined {
  if (attempt.outcome !== 'lost' && attempt.outcome !== 'returned') return undefined
  return disturbanceOf(ledger, attempt)
}

/** What was done to the worker of an attempt while it ran. */
function disturbanceOf(ledger: Ledger, { node, started, ended }: AttemptRow): Cause | undefined {
  const [trouble] = ledger
    .troublesOf(ledger.processOf(node), started, ended)
    .toSorted((a, b) => RANK.indexOf(CAUSE_OF[a.kind]) - RANK.indexOf(CAUSE_OF[b.kind]))
  return trouble && CAUSE_OF[trouble.kind]
}

/** When several things happened to one attempt, the harder one is called its cause. */
const RANK: readonly Cause[] = ['kill', 'pause', 'stop', 'database', 'cut']

/** Why a job whose effect had taken place was run again. */
function causeOfRepeat(ledger: Ledger, job: JobRow, before: SinkRequest, effect: SinkRequest): Cause {
  const attempt = ledger.attemptOf(job.id, before)
  const repeated = ledger.attemptOf(job.id, effect)
  // One of the two was sent by a worker that had lost the job, or it sent one attempt twice.
  if (!attempt || !repeated || attempt === repeated) {
    if (before.token === effect.token) return 'unexplained'
    return causeOfOrphan(ledger, job, attempt ? effect : before) ?? 'unexplained'
  }
  switch (attempt.outcome) {
    case 'lost':
    case 'returned':
    case 'snoozed':
      return disturbanceOf(ledger, attempt) ?? 'unexplained'
    case 'retry':
      // The sink hung up on purpose, or the answer was written and did not arrive.
      if (before.status === null && before.goneAt === null) return 'lost_answer'
      return disturbanceOf(ledger, attempt) ?? 'unexplained'
    default:
      return 'unexplained'
  }
}
