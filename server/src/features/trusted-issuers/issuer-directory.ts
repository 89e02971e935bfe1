import type { Db } from '../../platform/db/db.ts'
import type { Notifications } from '../../platform/db/notifications.ts'
import type { Log } from '../../platform/log.ts'
import { createLookUp } from '../../platform/look-ups.ts'
import { listAll, type TrustedIssuerRow } from './trusted-issuers.sql.ts'

/** Hint to the processes that hold issuers in memory. */
export const ISSUER_CHANNEL = 'orchestrator_trusted_issuer'
const POLL_MS = 4_000

/** What the tokens of an issuer end with when the trust in it changes. */
export const sessionOf = ({ id, epoch }: Pick<TrustedIssuerRow, 'id' | 'epoch'>): string => `${id}.${epoch}`

/** The trusted issuers of all workspaces, in memory: tokens that anybody can send must not turn into database reads. */
export interface IssuerDirectory {
  /** The same object until the trust changes. */
  find(tenantId: string, issuer: string): TrustedIssuerRow | undefined
  /** Resolves once the state was read for the first time. Errors: `database_unavailable`. */
  known(): Promise<void>
  close(): void
}

export function createIssuerDirectory(options: {
  readonly db: Db
  readonly notifications: Pick<Notifications, 'listen'>
  readonly log: Log
  readonly pollMs?: number
}): IssuerDirectory {
  const { db, log } = options
  let issuers: ReadonlyMap<string, TrustedIssuerRow> = new Map()
  let isKnown = false

  const lookUp = createLookUp(async () => {
    const rows = await listAll(db, {})
    issuers = new Map(
      rows.map((row) => {
        const key = keyOf(row.tenant_id, row.issuer)
        const before = issuers.get(key)
        return [key, before && sessionOf(before) === sessionOf(row) ? before : row]
      }),
    )
    isKnown = true
  })
  const load = (): Promise<void> => lookUp('all')
  const loadInBackground = (): void => {
    load().catch((error) => log.debug({ err: error }, 'the trusted issuers could not be read'))
  }
  const unlisten = options.notifications.listen(ISSUER_CHANNEL, loadInBackground)
  const poll = setInterval(loadInBackground, options.pollMs ?? POLL_MS).unref()
  loadInBackground()

  return {
    find: (tenantId, issuer) => issuers.get(keyOf(tenantId, issuer)),
    known: async () => {
      if (!isKnown) await load()
    },
    close: () => {
      clearInterval(poll)
      unlisten()
    },
  }
}

/** A tenant id has no spaces. */
const keyOf = (tenantId: string, issuer: string): string => `${tenantId} ${issuer}`
