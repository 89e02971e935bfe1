/**
 * What several nodes share so that a limit holds over all of them. Nothing here must survive: a store that
 * forgets everything costs some calls too many or too few, never a job. Memory serves one Node process, Redis
 * several; one conformance suite (`server/testing`) holds both to the same contract.
 *
 * `group` is the workspace's id: keys of one decision lie together, which Redis Cluster asks for (hash tags).
 */

/** So many permits per period on average, and `burst` at once after a rest. */
export interface RateLimit {
  readonly permits: number
  readonly periodMs: number
  /** At least 1; how many permits a caller that has rested may take at once. */
  readonly burst: number
}

export interface Charge {
  /** Unique in its group, e.g. `connector/stripe`. The charges of one decision have different keys. */
  readonly key: string
  readonly limit: RateLimit
  /** Permits that the call takes; at least 1. One that is above `burst` never passes. */
  readonly cost: number
  /**
   * So many permits of the burst the call leaves to others, as far as its cost does not need them; absent = none. Who
   * leaves nothing still finds room after a rest when others take all they can.
   */
  readonly reserve?: number
  /**
   * False: the limit is only watched. It never refuses, and is charged only when it would have let the call pass
   * and the call does pass.
   */
  readonly enforced: boolean
}

export interface ChargeState {
  /** The limit has room for the call. */
  readonly allowed: boolean
  /** Whole permits that are left after this decision, without what the call leaves to others. */
  readonly remaining: number
  /** Until a call of this cost has room; 0 when it has. Infinity when it never will. */
  readonly retryAfterMs: number
  /** Until the limit is as if nobody had ever called. */
  readonly resetMs: number
}

export interface Charged {
  /** Every enforced limit had room, and all were charged; otherwise nothing was, not even what is only watched. */
  readonly allowed: boolean
  /** One per charge, in their order. */
  readonly states: readonly ChargeState[]
}

/** A breaker that opened somewhere, or closed again. */
export interface SharedOpening {
  readonly group: string
  readonly key: string
  /** 0: it has closed. */
  readonly forMs: number
  readonly why: string
}

export interface SharedStore {
  /** All enforced charges or none, in one step. A memory store answers at once, so that a call costs no turn. Never rejects. */
  charge(group: string, charges: readonly Charge[]): Charged | Promise<Charged>

  /** Tells the other nodes that a breaker is open. Never throws, waits for nothing. */
  shareOpening(opening: SharedOpening): void
  /** Hears what other nodes share, and maybe what this one does; gives the function that stops it. */
  onOpening(listener: (opening: SharedOpening) => void): () => void
  /** What is left of an opening that was shared before this node listened. Never rejects. */
  opening(group: string, key: string): Promise<SharedOpening | undefined>
  /** Takes back an opening, and tells the listeners: the breaker has closed. */
  endOpening(group: string, key: string): void

  /** True for the one node that may probe now; the right ends with `leaseMs` or with `endProbe`. Never rejects. */
  takeProbe(group: string, key: string, leaseMs: number): boolean | Promise<boolean>
  endProbe(group: string, key: string): void

  close(): Promise<void>
}
