import type { Clock } from '../platform/clock.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { beatNode, returnUnknown } from './node.sql.ts'

/** Keeps one node alive in the eyes of the others, and knows when it may no longer believe that itself. */
export interface Heart {
  beat(): Promise<void>
  /** Milliseconds since the last beat that the database confirmed. */
  silentForMs(): number
  /**
   * For the end, when nothing claims any more: gives back at once what failed claims have left. True = this node has
   * no lease that it does not know of, and none can come.
   */
  leave(): Promise<boolean>
}

export interface HeartOptions {
  readonly db: Queryable
  readonly nodeId: string
  readonly host: string
  readonly capacity: number
  readonly clock: Clock
  /** Leases that this node holds and has not settled. */
  held(): readonly number[]
  /** A claim is on its way. */
  claiming(): boolean
  /** Claims of this node that failed so far. */
  failedClaims(): number
  cancel(leaseId: number): void
}

/** Time for the answer of a claim to be heard. */
const HEARD_AFTER_MS = 5_000
/** Beats between two searches for leases whose claim answer was lost. */
const BEATS_PER_SEARCH = 3
/** By then a claim that was cut off has ended, and what it took is old enough for `returnUnknown`. */
const DOUBT_MS = 10_000

export function createHeart(options: HeartOptions): Heart {
  const { db, nodeId, clock } = options
  let confirmedAt = clock.monotonic()
  /** Leases that this node starts from now on have greater numbers. */
  let floor = 0
  let beats = 0
  let failuresHeard = 0
  /** When the last failure of a claim was heard; undefined when nothing of it can be left. */
  let doubtedAt: number | undefined

  const isInDoubt = () => doubtedAt !== undefined || options.failedClaims() > failuresHeard

  return {
    leave: async () => {
      if (options.claiming()) return false
      if (!isInDoubt()) return true
      await returnUnknown(db, { nodeId, held: options.held(), upTo: Number.MAX_SAFE_INTEGER, olderThanMs: 0 })
      // A claim that was cut off may still be at work in the database.
      return false
    },
    silentForMs: () => clock.monotonic() - confirmedAt,
    beat: async () => {
      const sentAt = clock.monotonic()
      if (options.failedClaims() > failuresHeard) {
        failuresHeard = options.failedClaims()
        doubtedAt = sentAt
      }
      const oldestLease = options.held().reduce((oldest, lease) => Math.min(oldest, lease), floor + 1)
      const { last_lease, cancels } = await beatNode(db, { ...options, oldestLease })
      confirmedAt = sentAt
      // A claim that is on its way may have drawn its numbers before this answer, and one that failed may have left
      // leases, which take places under caps like all others: the old floor still holds then.
      if (!isInDoubt() && !options.claiming()) floor = Math.max(floor, last_lease)
      for (const leaseId of cancels) options.cancel(leaseId)
      beats += 1
      if (beats % BEATS_PER_SEARCH !== 0 || options.claiming()) return
      await returnUnknown(db, { nodeId, held: options.held(), upTo: last_lease, olderThanMs: HEARD_AFTER_MS })
      if (doubtedAt !== undefined && sentAt - doubtedAt > DOUBT_MS) doubtedAt = undefined
    },
  }
}
