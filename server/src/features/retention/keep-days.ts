/** How long what is kept: what the hub says, and what workspaces say instead. */
import type { Queryable } from '../../platform/db/statement.ts'
import { listOwnDays } from './retention.sql.ts'
import { type KeepDays, SUBJECTS, type Subject } from './subjects.ts'

/** The days of every workspace that says something of its own. */
export type OwnDays = ReadonlyMap<string, Partial<KeepDays>>

export async function readOwnDays(on: Queryable): Promise<OwnDays> {
  const own = new Map<string, Partial<Record<Subject, number>>>()
  for (const { tenant_id, subject, days } of await listOwnDays(on, {}))
    own.set(tenant_id, { ...own.get(tenant_id), [subject]: days })
  return own
}

/** What is older is kept by nobody. */
export const longest = (hub: KeepDays, own: OwnDays): KeepDays =>
  Object.fromEntries(
    SUBJECTS.map((subject) => [
      subject,
      Math.max(hub[subject], ...[...own.values()].map((days) => days[subject] ?? 0)),
    ]),
  ) as KeepDays

/** What is younger is kept by everybody. */
export const shortest = (hub: KeepDays, own: OwnDays): KeepDays =>
  Object.fromEntries(
    SUBJECTS.map((subject) => [
      subject,
      Math.min(hub[subject], ...[...own.values()].map((days) => days[subject] ?? hub[subject])),
    ]),
  ) as KeepDays

export const keptBy = (hub: KeepDays, own: OwnDays, tenantId: string, subject: Subject): number =>
  own.get(tenantId)?.[subject] ?? hub[subject]
