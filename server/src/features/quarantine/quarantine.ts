/**
 * The door of the quarantine: requests of providers that belong to no route beyond doubt, as they came, until somebody
 * finds out whose they are.
 *
 * Invariants. Nothing in it is in an inbox, an event feed or a job of a workspace. What was addressed to one route, and
 * failed there by signature, time or mode, is of its workspace; all else is of no workspace and seen by the platform
 * only. Whoever has not proved that an account is theirs is not shown what is sent to it. It is limited: by rate before
 * the database, by room in it, with a part that only what a secret has verified may use.
 *
 * States: kept → releasing → released (into the one inbox of each event, ever) | discarded; `expired` is what is kept
 * or releasing and whose time is over: nothing can be done with it, and a worker removes it. `releasing` knows where it
 * goes; only there it can go. The bytes are gone in every state after.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import type { Change } from '../audit/audit.ts'
import type { RefusalCause } from '../webhooks/webhooks.ts'
import * as sql from './quarantine.sql.ts'
import { bring, notFound, notKept, type ReleaseDeps, release } from './release.ts'
import { type VerifyAgainDeps, verifyAgain } from './verify-again.ts'

export { type AssignDeps, assign } from './assign.ts'
export { type DiscardFilter, discardMany, discardQuarantined } from './discard.ts'
export { eraseQuarantined } from './erase.ts'
export { createKeeper, type Keeper, type QuarantineLimits } from './keep.ts'
export type {
  KeptCopy,
  QuarantineContents,
  QuarantineFilter,
  QuarantineRow,
  RowKey,
  Share,
  Target,
} from './quarantine.sql.ts'
export { type ReleaseDeps, whereTo } from './release.ts'

export type VerifyDeps = ReleaseDeps & VerifyAgainDeps

/** What came of verifying one again. */
export type Outcome =
  | { readonly released: true; readonly targets: readonly sql.Target[] }
  | { readonly released: false; readonly cause: RefusalCause | 'unreadable' }

/** Newest first. */
export const listQuarantine = sql.listRows

/** With its bytes. Errors: `not_found`, also for one of another workspace. */
export async function getQuarantined(on: Queryable, key: sql.RowKey): Promise<sql.QuarantineContents> {
  const row = await sql.findContents(on, key)
  if (!row) throw notFound()
  return row
}

/**
 * Verifies it with today's routes and secrets, by the time at which it came; when each of its events has exactly one
 * route now, it is released there. Errors: `not_found`, `conflict` when it is not kept any more, `webhook_unavailable`
 * when nobody can say at the moment.
 */
export async function verifyQuarantined(deps: VerifyDeps, key: sql.RowKey, change: Change): Promise<Outcome> {
  const row = await getQuarantined(deps.db, key)
  if (row.expired || (row.state !== 'kept' && row.state !== 'releasing')) throw notKept(row)
  if (row.state === 'releasing' && row.targets)
    return { released: true, targets: await bring(deps, row, row.targets, change) }
  const verified = await verifyAgain(deps, row)
  if (verified.found) {
    const decision = { ...verified, action: 'quarantine.released' } as const
    return { released: true, targets: await release(deps, row, decision, change) }
  }
  if (verified.cause === 'secret_away')
    throw new Problem('webhook_unavailable', 'The store of a signing secret cannot be read at the moment.', {
      retryAfterSeconds: 5,
    })
  return { released: false, cause: verified.cause }
}

/** What came of verifying many. */
export interface ManyVerified {
  readonly examined: number
  readonly released: number
  /** Not released, by why. */
  readonly refused: Readonly<Record<string, number>>
  /** Where to go on; null = all were looked at. */
  readonly next: string | null
}

/** A call must be over before its caller gives up. */
const LONGEST_MS = 8_000

/**
 * Verifies what fits the filter, newest first, at most `filter.limit` and for a few seconds at most. One that fails does
 * not hold up the others.
 */
export async function verifyMany(
  deps: VerifyDeps & { readonly clock: Clock },
  filter: sql.QuarantineFilter,
  change: Change,
): Promise<ManyVerified> {
  const ids = await sql.listIds(deps.db, { ...filter, limit: filter.limit + 1 })
  const until = deps.clock.monotonic() + LONGEST_MS
  const refused: Record<string, number> = {}
  let [released, last]: [number, string | undefined] = [0, undefined]
  let examined = 0
  for (const { id } of ids.slice(0, filter.limit)) {
    const why = await tryVerify(deps, { tenantId: filter.tenantId, id }, change)
    if (why === undefined) released += 1
    else refused[why] = (refused[why] ?? 0) + 1
    examined += 1
    last = id
    if (deps.clock.monotonic() > until) break
    // Signatures are checked in this thread: others come between two of them.
    await turn()
  }
  return { examined, released, refused, next: examined < ids.length ? (last ?? null) : null }
}

/** Why it was not released; undefined = it was. */
async function tryVerify(deps: VerifyDeps, key: sql.RowKey, change: Change): Promise<string | undefined> {
  try {
    const outcome = await verifyQuarantined(deps, key, change)
    return outcome.released ? undefined : outcome.cause
  } catch (error) {
    // The database away, or a fault of ours: that is an answer for the whole.
    if (error instanceof Problem && error.code !== 'database_unavailable') return error.code
    throw error
  }
}

/** What was on its way to its inbox a minute ago, and is not there: its process has died, or could not. */
export const listLeftBehind = sql.listLeftBehind

/** Brings it where it is bound, or back when that is not there any more. Errors: those of `verifyQuarantined`. */
export async function finishRelease(deps: ReleaseDeps, key: sql.RowKey, change: Change): Promise<void> {
  const row = await sql.findContents(deps.db, key)
  if (row?.state === 'releasing' && !row.expired && row.targets) await bring(deps, row, row.targets, change)
}

/** Removes those whose time is over, at most `limit`; how many it were, by provider and state. For the worker. */
export const removeExpired = sql.removeExpired
/** Rows and bytes that are in use, over all workspaces. */
export const usedRoom = sql.usedRoom
