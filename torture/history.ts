/**
 * What a run leaves behind, and all that the checker sees: what the clients were told, what the sink did, what the
 * chaos did, and the tables of the hub as they were at the end. Times are milliseconds since 1970 of this machine,
 * whose clock the database uses as well.
 */

/**
 * How the sink behaves towards one job: `ok`; `flaky` answers 500 twice without an effect; `busy` answers 429 once;
 * `drop` has its effect and hangs up without an answer, once; `refuse` answers 400.
 */
export type Script = 'ok' | 'flaky' | 'busy' | 'drop' | 'refuse'

/**
 * What a client knows in the end: `accepted` = 202; `refused` = 4xx; `unknown` = 5xx, or sent without an answer;
 * `not_sent` = no connection was made.
 */
export type Answer = 'accepted' | 'refused' | 'unknown' | 'not_sent'

/** One job that a client wanted, however often it asked for it. */
export interface Send {
  /** Its own number, which is in the metadata and the input of the job. */
  readonly send: string
  readonly tenant: string
  readonly connector: string
  readonly script: Script
  /** Sent with an idempotency key, so that asking again is safe. */
  readonly keyed: boolean
  /** Of a batch: all of it or nothing. */
  readonly batch: string | null
  readonly callback: boolean
  readonly at: number
  readonly tries: number
  readonly answer: Answer
  readonly status: number | null
  readonly jobId: string | null
  readonly answeredAt: number | null
  /** Status of the answer to its cancel; 0 = asked, but no answer; null = not asked. */
  readonly cancel: number | null
}

/** One request as the sink saw it. */
export interface SinkRequest {
  readonly key: string
  readonly token: string
  /** The job's own number, or for a callback the id of the job it tells of. */
  readonly about: string
  readonly callback: boolean
  readonly start: number
  /** When the sink had decided; null when it was still at it at the end of the run. */
  readonly end: number | null
  /** The caller hung up before. */
  readonly goneAt: number | null
  /** Null when no answer was written. */
  readonly status: number | null
  /** The effect took place, whether or not anybody heard of it. */
  readonly effect: boolean
}

export type Disturbance =
  | 'kill'
  | 'stop'
  | 'pause'
  | 'crash'
  | 'database_kill'
  | 'backend_kill'
  | 'reset'
  | 'cut'
  | 'stall'
  | 'deaf'
  | 'refuse'

/** One thing that the chaos did. */
export interface Trouble {
  readonly kind: Disturbance
  /** A process (`worker-1`), a link (`worker-1>database`, `workers>sink`) or `database`. */
  readonly target: string
  readonly from: number
  /** When it was over: for a kill the moment the process was started again. */
  readonly to: number
}

export interface JobRow {
  readonly tenant: string
  readonly id: string
  readonly queue: number
  readonly priority: number
  readonly connector: string
  /** No attempt may start after this moment. */
  readonly expires: number | null
  readonly state: 'queued' | 'done' | 'cancelled' | 'dead'
  readonly attempts: number
  readonly key: string | null
  /** From its metadata; null for a callback. */
  readonly send: string | null
  readonly callback_of: string | null
  readonly wants_callback: boolean
}

export interface AttemptRow {
  readonly tenant: string
  readonly job: string
  readonly lease: number
  readonly attempt: number
  readonly node: string
  readonly started: number
  readonly ended: number
  readonly outcome: 'done' | 'retry' | 'snoozed' | 'dead' | 'cancelled' | 'returned' | 'lost'
  readonly error: string | null
}

export interface PlaceRow {
  readonly tenant: string
  readonly job: string
  readonly place: 'ready' | 'run' | 'deferred'
  readonly started: number | null
}

export interface CapRow {
  readonly tenant: string
  /** Null = of the whole workspace. */
  readonly connector: string | null
  readonly max: number
}

export interface Tables {
  readonly jobs: readonly JobRow[]
  readonly attempts: readonly AttemptRow[]
  readonly places: readonly PlaceRow[]
  readonly dead: readonly { readonly job: string; readonly reason: string }[]
  readonly events: readonly { readonly job: string; readonly type: string; readonly count: number }[]
  readonly readAt: number
}

/** A lease that was seen to live for some seconds. */
export interface HeldLease {
  readonly lease: number
  readonly job: string
  readonly node: string
  readonly started: number
  /** When it was last seen. */
  readonly seen: number
}

export interface History {
  readonly seed: number
  readonly seconds: number
  readonly sends: readonly Send[]
  readonly requests: readonly SinkRequest[]
  readonly troubles: readonly Trouble[]
  /** Which process a node was. */
  readonly nodes: readonly { readonly node: string; readonly process: string }[]
  readonly tables: Tables
  /** As the run configured them. */
  readonly caps: readonly CapRow[]
  readonly leases: readonly HeldLease[]
  /** As the workers counted them. */
  readonly staleRefused: number
  /** Workers were declared dead at once, so that a short run sees a rescue: its takeover times say nothing. */
  readonly hurried: boolean
}
