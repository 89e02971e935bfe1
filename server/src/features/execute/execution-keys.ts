import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import { createBatcher } from '../../queue/batcher.ts'
import { claimKeys, findKey, type KeyClaim, type KeyEnd, type KeyRow } from './execution-keys.sql.ts'
import { BATCHES, byKey } from './key-batches.ts'
import { createKeyEnds } from './key-ends.ts'

export type { KeyClaim, KeyEnd, KeyRow } from './execution-keys.sql.ts'

/** The idempotency keys of executions: taken before the first byte goes upstream, ended before the caller hears. */
export interface ExecutionKeys {
  /**
   * Takes a key, durably, or says who has it. Concurrent calls share a statement, but not their failures. Errors:
   * `database_unavailable`, also when too much waits for the database, `shutting_down`; then nothing was taken.
   */
  claim(claim: KeyClaim): Promise<KeyRow>
  /**
   * Stores how an execution has ended. Resolves when it is stored; while the database is away after a moment, and it
   * goes on behind the answer. Never rejects. An end that comes too late changes nothing and is counted.
   */
  end(end: KeyEnd): Promise<void>
  /** What is known of a key for this very request, without taking it. */
  find(of: Pick<KeyClaim, 'tenantId' | 'key' | 'fingerprint'>): Promise<KeyRow | undefined>
  /** Refuses new claims and resolves when every end is stored, or given up after some attempts. */
  close(): Promise<void>
}

const MAX_WAITING = 5_000
/**
 * A lease counts from the moment at which the database wrote it and is longer than the call by more than this. Who
 * hears later of its claim could be overtaken, so it does not begin.
 */
const LONGEST_CLAIM_MS = 10_000

/** How often a key is asked for that others take and give back in between. */
const CLAIM_TRIES = 5
const MISSING: PromiseRejectedResult = {
  status: 'rejected',
  reason: new Problem(
    'idempotency_in_flight',
    'Other calls take and free this idempotency key all the time.',
    {
      retryAfterSeconds: 1,
    },
  ),
}
const isMissing = (result: PromiseSettledResult<KeyRow>): boolean => result === MISSING

export function createExecutionKeys(
  platform: Pick<Platform, 'db' | 'clock' | 'random' | 'log' | 'metrics'>,
): ExecutionKeys {
  const { db, clock, metrics } = platform
  const verdicts = metrics.counter(
    'execution_keys_total',
    'Idempotency keys of executions that were asked for',
    ['verdict'],
  )
  const ends = createKeyEnds(platform)
  let closed = false

  /** A batch that the database refuses is claimed one by one, so that only the call at fault fails. */
  const claimApart = async (claims: readonly KeyClaim[]): Promise<PromiseSettledResult<KeyRow>[]> => {
    const results: PromiseSettledResult<KeyRow>[] = claims.map(() => MISSING)
    const order = claims.map((claim, place) => ({ ...claim, place })).sort(byKey)
    try {
      for (const row of await claimKeys(db, { claims: order })) {
        const place = order[row.ord]?.place
        if (place !== undefined) results[place] = { status: 'fulfilled', value: row }
      }
      return results
    } catch (error) {
      if (claims.length === 1) return [{ status: 'rejected', reason: error }]
      if (error instanceof Problem) throw error
      const apart: PromiseSettledResult<KeyRow>[] = []
      for (const claim of claims) apart.push(...(await claimApart([claim])))
      return apart
    }
  }

  /** A key that its holder gave back at that moment gave no row: it is free now, or taken anew. */
  const claimAll = async (claims: readonly KeyClaim[]): Promise<PromiseSettledResult<KeyRow>[]> => {
    const results = await claimApart(claims)
    for (let tries = 1; tries < CLAIM_TRIES; tries += 1) {
      const places = results.flatMap((result, place) => (isMissing(result) ? [place] : []))
      if (places.length === 0) break
      const again = await claimApart(places.flatMap((place) => claims[place] ?? []))
      for (const [at, place] of places.entries()) results[place] = again[at] ?? MISSING
    }
    return results
  }
  const batcher = createBatcher({ ...BATCHES, flush: claimAll })

  /** Its commit may have arrived although we did not hear of it: nothing was sent, so the key is free again. */
  const giveBack = ({ tenantId, key, executionId }: KeyClaim): void => {
    // In a long outage the few whose commit did arrive are found when their leases end.
    if (ends.size < MAX_WAITING) void ends.end({ tenantId, key, executionId, lease: 1, to: 'released' })
  }

  return {
    claim: async (claim) => {
      if (closed) throw new Problem('shutting_down', 'This process takes no more calls.')
      // Behind a stuck database callers would give up, and their calls would be held, and made when nobody waits.
      if (batcher.size >= MAX_WAITING) throw unavailable('Too many calls wait for the database of the hub')
      const askedAt = clock.monotonic()
      let row: KeyRow
      try {
        row = await batcher.add(claim)
      } catch (error) {
        giveBack(claim)
        throw error
      }
      if (row.verdict === 'claimed' && clock.monotonic() - askedAt > LONGEST_CLAIM_MS) {
        if (row.lease === 1) giveBack(claim)
        throw unavailable('The database of the hub took too long')
      }
      verdicts.inc({ verdict: row.verdict === 'claimed' && row.lease > 1 ? 'taken_up' : row.verdict })
      return row
    },
    end: ends.end,
    find: (of) => findKey(db, of),
    close: () => {
      closed = true
      return batcher.drained().then(ends.close)
    },
  }
}

const unavailable = (why: string): Problem =>
  new Problem('database_unavailable', `${why}; nothing was sent.`, { retryAfterSeconds: 2 })
