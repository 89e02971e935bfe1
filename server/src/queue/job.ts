import type { CallContext } from '../platform/call-context.ts'
import type { Tx } from '../platform/db/statement.ts'

/** Queues in the order of their importance; the number is what the hot tables store. */
export const QUEUES = { critical: 0, webhook: 1, default: 2, low: 3 } as const
export type QueueName = keyof typeof QUEUES

/** The name for the number that a hot table stores; anything else is a broken row and throws. */
export function queueName(stored: number): QueueName {
  for (const [name, value] of Object.entries(QUEUES)) if (value === stored) return name as QueueName
  throw new Error(`unknown queue number ${stored}`)
}

/** The first four are where an unfinished job lives; the others are how it ended. */
export const JOB_STATES = ['queued', 'scheduled', 'running', 'retrying', 'done', 'cancelled', 'dead'] as const
export type JobState = (typeof JOB_STATES)[number]

/** 1 runs first inside its lane, 4 last. */
export const PRIORITIES = [1, 2, 3, 4] as const
export type Priority = (typeof PRIORITIES)[number]
export const DEFAULT_PRIORITY: Priority = 2

/**
 * What happens in the transaction that ends the job as done (event) or in any way (callback, follow).
 * The callback is a job of its own on a connector of kind `callback`.
 */
export interface Completion {
  readonly callback?: { readonly connector: string }
  readonly event?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
  /** What else follows, in words that the queue only carries: `kind` says who reads them. */
  readonly follow?: { readonly kind: string } & Readonly<Record<string, unknown>>
}

/**
 * Where the input of a job is, or the rest of it, when it is not in `input`. The queue carries it and does not read
 * it; whoever runs the job does (`kind` says who).
 */
export type InputRef = { readonly kind: string } & Readonly<Record<string, unknown>>

/** A piece of work to run later: one operation of one connector of one workspace. */
export interface NewJob {
  /** UUIDv7 (`newId()`): it names the job's daily partition. */
  readonly id: string
  readonly tenantId: string
  readonly queue: QueueName
  /** The connector's number in its workspace (`connector_lane`): fairness, caps and blocking work by lane. */
  readonly lane: number
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  /** Where the rest of the input is; see `InputRef`. */
  readonly inputRef?: InputRef
  readonly priority?: Priority
  /** Not before this moment; absent or past = now. */
  readonly runAt?: Date
  /** A job that has not started an attempt by then never will: it ends as a dead letter, reason `expired`. */
  readonly expiresAt?: Date
  readonly metadata?: Readonly<Record<string, unknown>>
  readonly completion?: Completion
  /** The config version that was active when the job was accepted. */
  readonly configVersion: number
  /** Sent upstream unchanged on every attempt. Absent = derived from the job's id. */
  readonly idempotencyKey?: string
  /** Set when the caller sent an Idempotency-Key: a second enqueue with the key gives the first job. */
  readonly dedupe?: { readonly key: string; readonly requestHash: Buffer }
  readonly inboxId?: string
  readonly createdBy: string
  readonly call: CallContext
}

export interface EnqueuedJob {
  /** The id of the job that will run: the first one's when the key was used before. */
  readonly id: string
  readonly queuedAt: Date
  readonly replayed: boolean
}

/** A job as a worker holds it: one claim, one lease. */
export interface ClaimedJob {
  readonly id: string
  readonly tenantId: string
  readonly queue: QueueName
  readonly lane: number
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  readonly inputRef: InputRef | null
  readonly metadata: Readonly<Record<string, unknown>>
  readonly completion: Completion | null
  /** 1 for the first attempt. */
  readonly attempt: number
  /** Rises with every claim of any job: settling with an old one changes nothing. */
  readonly leaseId: number
  readonly idempotencyKey: string
  readonly inboxId: string | null
  readonly createdBy: string
  readonly createdAt: Date
  readonly call: CallContext
}

/** A lane: the jobs of one queue for one connector of one workspace. Jobs fit the type, too. */
export interface LaneKey {
  readonly queue: QueueName
  readonly tenantId: string
  readonly lane: number
}

/** The key that goes upstream with every attempt when the enqueuer named none; stable over replays. */
export const upstreamKeyOf = (jobId: string): string => `orch-${jobId}`

/** What is known about a failed attempt; stored with the attempt and shown in the timeline. No secrets. */
export interface AttemptError {
  /** Class of the failure, e.g. `timeout`, `refused`, `http_5xx`, `address_forbidden`. */
  readonly class: string
  readonly message: string
  readonly httpStatus?: number
}

/** How an attempt ended. `why` is one sentence for the timeline. */
export type Outcome = Ended & {
  /** The config version that the attempt ran on; absent = it came to no connector. */
  readonly configVersion?: number
}

type Ended =
  | {
      readonly kind: 'done'
      readonly result: unknown
      /** Where the result is when it is not in `result`; as `InputRef`. */
      readonly resultRef?: InputRef
      readonly httpStatus?: number
      readonly why: string
    }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly error: AttemptError; readonly why: string }
  /** Put back without spending the attempt. */
  | {
      readonly kind: 'snooze'
      readonly delayMs: number
      /** What the upstream answered, if it was asked. */
      readonly httpStatus?: number
      readonly why: string
    }
  | { readonly kind: 'dead'; readonly reason: string; readonly error: AttemptError; readonly why: string }
  | {
      readonly kind: 'cancelled'
      /** What the upstream answered, if it was asked. */
      readonly httpStatus?: number
      readonly why: string
      /** The work is not given up but waits elsewhere, for this cause: `FollowUps` keep it, whatever the completion. */
      readonly held?: string
    }

export const ATTEMPT_OUTCOMES = ['done', 'retry', 'snoozed', 'dead', 'cancelled', 'returned', 'lost'] as const

/** An attempt that has ended, as stored; times are ISO 8601. */
export interface AttemptRecord {
  readonly attempt: number
  readonly lease_id: number
  readonly node_id: string
  readonly started_at: string
  readonly ended_at: string
  readonly outcome: (typeof ATTEMPT_OUTCOMES)[number]
  readonly why: string
  readonly error_class: string | null
  readonly error_message: string | null
  readonly http_status: number | null
  readonly config_version: number | null
  readonly next_run_at: string | null
}

/** A job that has ended, as `FollowUps` sees it. */
export interface EndedJob {
  readonly job: Omit<ClaimedJob, 'input' | 'leaseId'>
  readonly state: 'done' | 'dead' | 'cancelled'
  /** Of a done job; null otherwise. */
  readonly result: unknown
  /** Where the result is when it is not in `result`. */
  readonly resultRef?: InputRef
  /** Why it ended, one sentence. */
  readonly why: string
  /** Of a dead job: the reason of the dead letter, e.g. `poison`. */
  readonly reason: string | null
  readonly error: AttemptError | null
  /** As in the outcome; absent when somebody has cancelled it in the meantime. */
  readonly held?: string
}

/**
 * Runs in the transaction that ends jobs, for those that really ended in it and have a `completion` or are held: what it
 * writes commits with the end of the job or not at all. Gives the lanes it enqueued into (jobs will do), so that
 * they can be woken after the commit. When it throws by a fault of its own (not of a database in trouble, see
 * `isTransient`), a job that a worker ends is a dead letter with reason `settle_failed` instead.
 */
export type FollowUps = (tx: Tx, ended: readonly EndedJob[]) => Promise<readonly LaneKey[]>
