import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import * as sql from './quarantine.sql.ts'
import { notFound, notKept, type ReleaseDeps } from './release.ts'

/** Removes its bytes for good. Once more changes nothing. Errors: `not_found`, `conflict` when it is not kept any more. */
export async function discardQuarantined(
  { db }: Pick<ReleaseDeps, 'db'>,
  key: sql.RowKey,
  change: Change,
): Promise<void> {
  await db.transaction(async (tx) => {
    const row = await sql.lockRow(tx, key)
    if (!row) throw notFound()
    if (row.state === 'discarded') return
    const gone = await sql.discardRow(tx, { ...key, by: nameOf(change), why: change.reason })
    if (gone === 0) throw notKept(row)
    await recordAudit(tx, {
      ...change,
      tenantId: key.tenantId,
      action: 'quarantine.discarded',
      object: `quarantine:${key.id}`,
      diff: [{ path: '/state', before: 'kept', after: 'discarded' }],
    })
  })
}

export type DiscardFilter = Omit<sql.QuarantineFilter, 'state' | 'beforeId'>

/**
 * Removes the bytes of what is kept and fits the filter, oldest first, at most `filter.limit`; gives how many it were.
 * All or none, with one audit entry that says by what filter: each of them says itself by whom and why.
 */
export async function discardMany(
  { db }: Pick<ReleaseDeps, 'db'>,
  filter: DiscardFilter,
  change: Change,
): Promise<number> {
  const { tenantId, provider, reason, routeId, from, to } = filter
  return db.transaction(async (tx) => {
    const by = { by: nameOf(change), why: change.reason }
    const { discarded } = await sql.discardRows(tx, { ...filter, ...by })
    if (discarded === 0) return 0
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'quarantine.many_discarded',
      object: 'quarantine',
      diff: [
        {
          path: '/filter',
          after: {
            ...{ provider: provider ?? null, reason: reason ?? null, route_id: routeId ?? null },
            ...{ from: from?.toISOString() ?? null, to: to?.toISOString() ?? null },
          },
        },
        { path: '/discarded', after: discarded },
      ],
    })
    return discarded
  })
}
