import type { Clock } from '../platform/clock.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { beatNode, returnUnknown } from './node.sql.ts'

/** Keeps one node alive in the eyes of the others, and knows when it may no longer believe that itself. */
export interface Heart {
  beat(): Promise<void>
  /** Milliseconds since the last beat that the database confirmed. */
  silentForMs(): number
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
  cancel(leaseId: number): void
}

/** Beats between two searches for leases whose claim answer was lost. */
const BEATS_PER_SEARCH = 3

export function createHeart(options: HeartOptions): Heart {
  const { db, nodeId, clock } = options
  let confirmedAt = clock.monotonic()
  /** Leases that this node starts from now on have greater numbers. */
  let floor = 0
  let beats = 0

  return {
    silentForMs: () => clock.monotonic() - confirmedAt,
    beat: async () => {
      const sentAt = clock.monotonic()
      const oldestLease = options.held().reduce((oldest, lease) => Math.min(oldest, lease), floor + 1)
      const { last_lease, cancels } = await beatNode(db, { ...options, oldestLease })
      confirmedAt = sentAt
      // A claim that is on its way may have drawn its numbers before this answer: the old floor still holds then.
      if (!options.claiming()) floor = Math.max(floor, last_lease)
      for (const leaseId of cancels) options.cancel(leaseId)
      beats += 1
      if (beats % BEATS_PER_SEARCH === 0 && !options.claiming())
        await returnUnknown(db, { nodeId, held: options.held() })
    },
  }
}
