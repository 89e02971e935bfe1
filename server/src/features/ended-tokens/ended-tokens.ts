/**
 * The door of the ended tokens: tokens that end before their time, on every process within seconds.
 *
 * Invariants. An end commits with the change that it comes from. Processes hear of it by NOTIFY, and by a poll when
 * that is lost. Without the database the last known state stays in force; a process that has never known it lets
 * nobody in. An end is kept for the longest life of a token, after which nothing is left that it could end.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { type Notifications, notify } from '../../platform/db/notifications.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { Log } from '../../platform/log.ts'
import { createLookUp } from '../../platform/look-ups.ts'
import { Problem } from '../../problems.ts'
import { deleteOld, type EndedTokenRow, insertEnded, listEnded } from './ended-tokens.sql.ts'

/** No token lives longer, whoever issued it. */
export const LONGEST_TOKEN_SECONDS = 3_600

/** What belongs to no workspace is said of all of them: the id that `NO_WORKSPACE` of the floor above has, too. */
const ALL_WORKSPACES = '00000000-0000-0000-0000-000000000000'

const CHANNEL = 'orchestrator_ended_token'
/** With the skew that verifiers allow, and some more for clocks of hosts that differ from the database's. */
const KEPT_SECONDS = LONGEST_TOKEN_SECONDS + 60
/** NOTIFY tells at once; the poll finds what a lost hint did not tell. Ends must hold everywhere within 5 s. */
const POLL_MS = 1_000
/** A transaction commits later than its rows say; the limits of our sessions keep it far below this. */
const OVERLAP_MS = 120_000
const CLEANING_MS = 600_000

/** Which tokens end. At most one of the three; none = all of the workspace that were issued until now. */
export interface TokensToEnd {
  readonly tenantId: string
  /**
   * What was issued until now to this subject in this workspace, and what it got while impersonating others there. With
   * the id of no workspace: in all of them.
   */
  readonly subject?: string
  /** All tokens of this session in any workspace, for ever: an ended session never comes back. */
  readonly sessionId?: string
  /** One token, by its `jti`. */
  readonly tokenId?: string
}

/** Ends tokens with the transaction's commit. Call it after the change that keeps new ones from being issued. */
export async function endTokens(
  tx: Tx,
  { tenantId, subject, sessionId, tokenId }: TokensToEnd,
): Promise<void> {
  await insertEnded(tx, { tenantId, id: newId(), subject, sessionId, tokenId })
  await notify(tx, { channel: CHANNEL, payload: '' })
}

type TokenFacts = Pick<
  Principal,
  'tenantId' | 'subject' | 'impersonator' | 'sessionId' | 'tokenId' | 'issuedAt'
>

export interface EndedTokens {
  /** True when the token has ended, as far as this process knows. Errors: `database_unavailable` before the first `known`. */
  isEnded(principal: TokenFacts): boolean
  /** Resolves once the state was read for the first time. Errors: `database_unavailable`. */
  known(): Promise<void>
  close(): void
}

/** The ends in memory: no database read per request. */
export function createEndedTokens(options: {
  readonly db: Db
  readonly notifications: Pick<Notifications, 'listen'>
  readonly log: Log
  readonly clock: Clock
  readonly pollMs?: number
  readonly cleaningMs?: number
}): EndedTokens {
  const { db, log, clock } = options
  const ends = new Map<string, number>()
  let isKnown = false
  let latest: number | undefined

  const remember = (row: EndedTokenRow): void => {
    const endedAt = row.ended_at.getTime()
    ends.set(keyOf(row), Math.max(endedAt, ends.get(keyOf(row)) ?? 0))
    latest = Math.max(endedAt, latest ?? 0)
  }
  const forgetOld = (): void => {
    const oldest = clock.now() - KEPT_SECONDS * 1_000
    for (const [key, endedAt] of ends) if (endedAt < oldest) ends.delete(key)
  }
  // A hint that comes during a read leads to another one.
  const lookUp = createLookUp(async () => {
    const from = latest === undefined ? clock.now() - KEPT_SECONDS * 1_000 : latest - OVERLAP_MS
    for (const row of await listEnded(db, { since: new Date(from) })) remember(row)
    isKnown = true
  })
  const load = (): Promise<void> => lookUp('all')
  const loadInBackground = (): void => {
    load().catch((error) => log.debug({ err: error }, 'the ended tokens could not be read'))
  }
  const clean = (): void => {
    deleteOld(db, { keptSeconds: KEPT_SECONDS }).catch((error) =>
      log.debug({ err: error }, 'old ends of tokens could not be deleted'),
    )
  }

  const unlisten = options.notifications.listen(CHANNEL, loadInBackground)
  const poll = setInterval(() => {
    forgetOld()
    loadInBackground()
  }, options.pollMs ?? POLL_MS).unref()
  const cleaning = setInterval(clean, options.cleaningMs ?? CLEANING_MS).unref()
  loadInBackground()

  return {
    isEnded: (principal) => {
      if (!isKnown) throw new Problem('database_unavailable', 'It is not known yet which tokens have ended.')
      return ends.size > 0 && isAmong(ends, principal)
    },
    known: async () => {
      if (!isKnown) await load()
    },
    close: () => {
      clearInterval(poll)
      clearInterval(cleaning)
      unlisten()
    },
  }
}

const cutOffOf = (ends: ReadonlyMap<string, number>, tenantId: string, subject: string): number =>
  Math.max(ends.get(`of ${tenantId} ${subject}`) ?? 0, ends.get(`of ${ALL_WORKSPACES} ${subject}`) ?? 0)

/** Names come from tokens, and hold no spaces: none can be mistaken for two. */
const keyOf = ({ tenant_id, subject, session_id, token_id }: EndedTokenRow): string =>
  token_id !== null
    ? `token ${token_id}`
    : session_id !== null
      ? `session ${session_id}`
      : `of ${tenant_id} ${subject ?? ''}`

function isAmong(ends: ReadonlyMap<string, number>, token: TokenFacts): boolean {
  const { tenantId, subject, impersonator, sessionId, tokenId, issuedAt } = token
  if (ends.has(`token ${tokenId}`)) return true
  if (sessionId !== undefined && ends.has(`session ${sessionId}`)) return true
  const cutOff = Math.max(
    ends.get(`of ${tenantId} `) ?? 0,
    cutOffOf(ends, tenantId, subject),
    impersonator === undefined ? 0 : cutOffOf(ends, tenantId, impersonator),
  )
  return issuedAt <= cutOff
}
