/**
 * How much a workspace may have. Quotas are about what is kept; how fast a workspace may go is its policy's matter. A limit
 * below what is there removes nothing: it only lets nothing be added.
 */
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { QUOTAS, type Quota, type Quotas, withDefaults } from './quota-limits.ts'
import { countUse, selectQuotas, updateQuotas } from './quotas.sql.ts'
import { absent, type WorkspaceDeps } from './workspace.ts'
import { lockWorkspace } from './workspaces.sql.ts'

export interface QuotaUse {
  readonly quota: Quota
  readonly limit: number
  readonly used: number
}

/** The limits of a workspace with what it uses of them; undefined when there is no such workspace. */
export async function quotasOf(on: Queryable, tenantId: string): Promise<QuotaUse[] | undefined> {
  const row = await selectQuotas(on, { tenantId })
  if (!row) return undefined
  const limits = withDefaults(row.quotas)
  const uses: QuotaUse[] = []
  for (const quota of QUOTAS) {
    const limit = limits[quota]
    const { used } = await countUse(on, { tenantId, quota, most: Math.max(limit + 1, 10_000) })
    uses.push({ quota, limit, used })
  }
  return uses
}

export interface Room {
  readonly tenantId: string
  readonly quota: Quota
  /** How many are added; 1. */
  readonly adding?: number
  /** How many go before these are added; 0. */
  readonly freed?: number
  /** How many there will be, for what is replaced as a whole. */
  readonly total?: number
}

/** What would go beyond a quota, told for people; undefined = there is room. Locks nothing: `requireRoom` decides. */
export async function quotaFault(on: Queryable, room: Room): Promise<string | undefined> {
  const row = await selectQuotas(on, room)
  const over = row && (await overQuota(on, withDefaults(row.quotas), room))
  return over && sentenceOf(over)
}

/**
 * Refuses what would go beyond the quota. Locks the row of the workspace until the transaction ends, so that two at
 * once do not both take the last place: ask before the write. Errors: `quota_exceeded`, `not_found`.
 */
export async function requireRoom(tx: Tx, room: Room): Promise<void> {
  const row = await lockWorkspace(tx, { id: room.tenantId })
  if (!row) throw new Problem('not_found', 'There is no such workspace.')
  const over = await overQuota(tx, withDefaults(row.quotas), room)
  if (over) throw new Problem('quota_exceeded', sentenceOf(over), { members: { ...over } })
}

async function overQuota(
  on: Queryable,
  limits: Quotas,
  { tenantId, quota, adding = 1, freed = 0, total }: Room,
): Promise<QuotaUse | undefined> {
  const limit = limits[quota]
  const { used } = await countUse(on, { tenantId, quota, most: Number.MAX_SAFE_INTEGER })
  const wanted = total ?? used - freed + adding
  // Whoever has more than the limit already may still take some away. What is added one by one needs its place.
  return wanted <= limit || (total !== undefined && wanted <= used) ? undefined : { quota, limit, used }
}

const sentenceOf = ({ quota, limit, used }: QuotaUse): string =>
  `The workspace may have ${limit} ${quota.replaceAll('_', ' ')}; it has ${used}.`

/**
 * Sets limits; those that are not named stay. Errors: `not_found`. Nothing is removed when a limit is below the use.
 */
export async function setQuotas(
  { db, environment }: WorkspaceDeps,
  { id, quotas }: { readonly id: string; readonly quotas: Partial<Quotas> },
  change: Change,
): Promise<QuotaUse[]> {
  return db.transaction(async (tx) => {
    const row = await lockWorkspace(tx, { id })
    if (row?.environment !== environment || row.status === 'deleted') throw absent()
    const [before, after] = [withDefaults(row.quotas), withDefaults({ ...row.quotas, ...quotas })]
    await updateQuotas(tx, { tenantId: id, quotas: { ...row.quotas, ...quotas } })
    const diff = QUOTAS.filter((quota) => before[quota] !== after[quota]).map((quota) => ({
      path: `/quotas/${quota}`,
      before: before[quota],
      after: after[quota],
    }))
    await recordAudit(tx, {
      ...change,
      tenantId: id,
      action: 'workspace.quotas_changed',
      object: `workspace:${row.slug}`,
      diff,
    })
    return (await quotasOf(tx, id)) ?? []
  })
}
