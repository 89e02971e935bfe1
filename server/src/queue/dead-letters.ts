import type { Queryable, Tx } from '../platform/db/statement.ts'
import * as sql from './dead-letters.sql.ts'
import { type AttemptError, type JobState, type LaneKey, QUEUES, type QueueName, queueName } from './job.ts'
import { jobStates } from './read.ts'

export type { LetterFilter, LetterKey } from './dead-letters.sql.ts'

/** Which dead letters are meant: those of a queue, or those of it that are in the bin. */
export interface LetterScope {
  readonly tenantId: string
  readonly queue: QueueName
  readonly binned: boolean
}

/** A job that was given up. It keeps its id, its payload and its history, and can be replayed. */
export interface DeadLetter {
  /** The id of the job. */
  readonly id: string
  readonly connector: string
  readonly operation: string
  readonly deadAt: Date
  readonly key: sql.LetterKey
  /** In the bin since then. */
  readonly purgedAt: Date | null
  readonly reason: string
  /** Attempts that its last life took. */
  readonly attempts: number
  readonly error: AttemptError
  /** The same for failures of one kind: error class, connector, operation, status and message without its details. */
  readonly fingerprint: string
  /** How often it was replayed before. */
  readonly replays: number
  readonly inboxId: string | null
  readonly correlationId: string | null
  readonly traceId: string | null
}

type Filtered = LetterScope & { readonly filter: sql.LetterFilter }

const stored = <Scope extends LetterScope>(scope: Scope) => ({ ...scope, queue: QUEUES[scope.queue] })

const toLetter = (row: sql.LetterRow): DeadLetter => ({
  id: row.id,
  connector: row.connector,
  operation: row.operation,
  deadAt: row.dead_at,
  key: { deadUs: row.dead_us, id: row.id },
  purgedAt: row.purged_at,
  reason: row.reason,
  attempts: row.attempts,
  error: {
    class: row.error_class,
    message: row.error_message,
    ...(row.http_status !== null && { httpStatus: row.http_status }),
  },
  fingerprint: row.fingerprint,
  replays: row.replays,
  inboxId: row.inbox_id,
  correlationId: row.correlation_id,
  traceId: row.trace_id,
})

/** Newest first. `before` = the key of the last one of the page before. */
export const listDeadLetters = async (
  on: Queryable,
  args: Filtered & { readonly before?: sql.LetterKey | undefined; readonly limit: number },
): Promise<DeadLetter[]> => (await sql.listLetters(on, stored(args))).map(toLetter)

export interface FailureGroup {
  readonly fingerprint: string
  readonly letters: number
  readonly firstAt: Date
  readonly lastAt: Date
  readonly key: { readonly lastUs: number; readonly fingerprint: string }
  readonly connector: string
  readonly operation: string
  /** Of the newest letter, whose id is `sampleId`. */
  readonly error: AttemptError
  readonly sampleId: string
}

/** Dead letters counted by kind of failure, the kind that happened last first. */
export const listFailureGroups = async (
  on: Queryable,
  args: Filtered & { readonly before?: FailureGroup['key'] | undefined; readonly limit: number },
): Promise<FailureGroup[]> =>
  (await sql.listGroups(on, stored(args))).map((row) => ({
    fingerprint: row.fingerprint,
    letters: row.letters,
    firstAt: row.first_at,
    lastAt: row.last_at,
    key: { lastUs: row.last_us, fingerprint: row.fingerprint },
    connector: row.connector,
    operation: row.operation,
    error: {
      class: row.error_class,
      message: row.error_message,
      ...(row.http_status !== null && { httpStatus: row.http_status }),
    },
    sampleId: row.job_id,
  }))

/** How many letters there were at `cutoff` that are still there, and the time of the oldest. */
export async function countDeadLetters(
  on: Queryable,
  args: Filtered & { readonly cutoff: Date },
): Promise<{ readonly letters: number; readonly oldest: Date | null }> {
  const [row] = await sql.countLetters(on, stored(args))
  return row ?? { letters: 0, oldest: null }
}

/** A letter that is locked until the end of the transaction. */
export interface PickedLetter extends DeadLetter {
  /** False: the history of its job is no longer kept, so that there is nothing to replay. */
  readonly kept: boolean
}

const toPicked = (row: sql.PickedRow): PickedLetter => ({ ...toLetter(row), kept: row.kept })

/** The oldest letters behind `after` that were there at `cutoff`. Who wants the same letters waits for the commit. */
export const pickDeadLetters = async (
  tx: Tx,
  args: Filtered & {
    readonly cutoff: Date
    readonly after: sql.LetterKey | undefined
    readonly limit: number
  },
): Promise<PickedLetter[]> => (await sql.pickLetters(tx, stored(args))).map(toPicked)

/** The letters of these jobs that are in the scope now. */
export const pickNamedLetters = async (
  tx: Tx,
  args: LetterScope & { readonly ids: readonly string[] },
): Promise<PickedLetter[]> => (await sql.pickNamed(tx, stored(args))).map(toPicked)

/**
 * What has become of a job: `dead_letter`, `bin`, `removed` (its letter has left the bin for good), or else the
 * state of the job, e.g. `running`.
 */
export interface Whereabouts {
  readonly queue: QueueName
  readonly place: 'dead_letter' | 'bin' | 'removed' | Exclude<JobState, 'dead'>
  /** Of a letter. */
  readonly deadAt: Date | null
  /** How often it was replayed so far. */
  readonly replays: number
}

/** By id. A job that the workspace does not have is not in the map. */
export async function whereaboutsOf(
  on: Queryable,
  tenantId: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Whereabouts>> {
  const rows = await sql.whereLettersAre(on, { tenantId, ids })
  const others = rows.filter(({ binned }) => binned === null).map(({ id }) => id)
  const states = others.length > 0 ? await jobStates(on, tenantId, others) : new Map<string, JobState>()
  const placeOf = ({ id, binned }: sql.WhereaboutsRow): Whereabouts['place'] => {
    if (binned !== null) return binned ? 'bin' : 'dead_letter'
    const state = states.get(id) ?? 'dead'
    return state === 'dead' ? 'removed' : state
  }
  return new Map(
    rows.map((row) => [
      row.id,
      { queue: queueName(row.queue), place: placeOf(row), deadAt: row.dead_at, replays: row.replays },
    ]),
  )
}

/** Who does it to which letters, why, and as part of which plan: for the timelines of the jobs. */
export interface LetterAction {
  readonly tenantId: string
  readonly ids: readonly string[]
  readonly actor: string
  readonly why: string
  /** Null when it was asked for by itself. */
  readonly planId: string | null
}

/** A job that a replay has put back into its lane. */
export interface ReplayedJob extends LaneKey {
  readonly id: string
}

/**
 * Sends jobs on their way again, each with an event. Their attempts start anew, their history stays; they keep
 * their idempotency key unless `newEffect` asks for another one. Jobs that are no dead letters any more are left
 * out of the answer. Pick the letters first, in the same transaction; call `WakeUp.hint` after the commit.
 */
export const replayLetters = async (
  tx: Tx,
  action: LetterAction & { readonly newEffect: boolean },
): Promise<ReplayedJob[]> =>
  (await sql.replayDeadLetters(tx, action)).map((row) => ({
    id: row.job_id,
    queue: queueName(row.queue),
    tenantId: action.tenantId,
    lane: row.lane,
  }))

/** Moves letters into the bin, each with an event; gives the ids of those that were not there yet. */
export const purgeLetters = async (tx: Tx, action: LetterAction): Promise<string[]> =>
  (await sql.binDeadLetters(tx, { ...action, intoBin: true })).map(({ job_id }) => job_id)

/** Takes letters out of the bin, each with an event; gives the ids of those that were there. */
export const restoreLetters = async (tx: Tx, action: LetterAction): Promise<string[]> =>
  (await sql.binDeadLetters(tx, { ...action, intoBin: false })).map(({ job_id }) => job_id)

/**
 * Removes up to `limit` letters of any workspace that have been in the bin for more than `days`, for good: their
 * jobs stay in the history as dead and cannot be replayed. Gives how many. Several processes may do it at once.
 */
export const emptyBin = async (
  on: Queryable,
  args: { readonly days: number; readonly limit: number },
): Promise<number> => (await sql.emptyBin(on, args)).removed
