import type { CallContext } from '../platform/call-context.ts'

/** Queues in the order of their importance; the number is what the hot tables store. */
export const QUEUES = { critical: 0, webhook: 1, default: 2, low: 3 } as const
export type QueueName = keyof typeof QUEUES

/** 1 runs first inside its lane, 4 last. */
export const PRIORITIES = [1, 2, 3, 4] as const
export type Priority = (typeof PRIORITIES)[number]
export const DEFAULT_PRIORITY: Priority = 2

/**
 * What the worker does in the transaction that ends the job as done (event) or in any way (callback).
 * The callback is a job of its own on a connector of kind `callback`.
 */
export interface Completion {
  readonly callback?: { readonly connector: string }
  readonly event?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
}

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
  readonly priority?: Priority
  /** Not before this moment; absent or past = now. */
  readonly runAt?: Date
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

/** What is known about a failed attempt; stored with the attempt and shown in the timeline. No secrets. */
export interface AttemptError {
  /** Class of the failure, e.g. `timeout`, `refused`, `http_5xx`, `address_forbidden`. */
  readonly class: string
  readonly message: string
  readonly httpStatus?: number
}

/** How an attempt ended. `why` is one sentence for the timeline. */
export type Outcome =
  | { readonly kind: 'done'; readonly result: unknown; readonly httpStatus?: number; readonly why: string }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly error: AttemptError; readonly why: string }
  /** Put back without spending the attempt. */
  | { readonly kind: 'snooze'; readonly delayMs: number; readonly why: string }
  | { readonly kind: 'dead'; readonly reason: string; readonly error: AttemptError; readonly why: string }
  | { readonly kind: 'cancelled'; readonly why: string }
