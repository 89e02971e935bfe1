/**
 * Days of history that stay for somebody else, because he keeps them longer or because something of his in them is not
 * over: what other workspaces have in them is taken out when their own time is over. Bounded in each step, and each
 * step can be the last one of a process.
 */
import type { Db } from '../../platform/db/db.ts'
import { hasDaysPast } from '../../platform/db/retention.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { trimJobsOfDay } from '../../queue/trim-jobs.ts'
import { trimInboxDay } from '../webhooks/webhooks.ts'
import { keptBy, type OwnDays, shortest } from './keep-days.ts'
import { countRows, listDaysToTrim, listOwners, rememberTrim, trimDay } from './retention.sql.ts'
import type { KeepDays, Subject } from './subjects.ts'

interface Trimming {
  readonly subject: Subject
  /** The table whose days are asked for. */
  readonly table: 'event' | 'request_log' | 'job' | 'webhook_inbox'
  trim(
    on: Queryable,
    at: { readonly tenantId: string; readonly day: string; readonly days: number; readonly most: number },
  ): Promise<number>
}

const wholeDay =
  (table: string): Trimming['trim'] =>
  async (on, { tenantId, day, most }) =>
    (await trimDay(on, { table, tenantId, day, most })).trimmed

const TRIMMINGS: readonly Trimming[] = [
  { subject: 'jobs', table: 'job', trim: trimJobsOfDay },
  { subject: 'webhook_inbox', table: 'webhook_inbox', trim: trimInboxDay },
  { subject: 'request_log', table: 'request_log', trim: wholeDay('request_log') },
  { subject: 'events', table: 'event', trim: wholeDay('event') },
]

/** Rows of one statement: it holds locks and makes dead rows, so it is over in a moment. */
const BATCH = 5_000

/** A day of a workspace that is past its time while the day itself stays. */
export interface OwnDay {
  readonly tenantId: string
  readonly subject: Subject
  readonly table: Trimming['table']
  readonly day: string
  readonly days: number
}

/**
 * Which days of which workspaces are past their time although they are still there: others keep them longer, or something
 * in them is not over. What was looked at today is left out.
 */
export async function* daysToTrim(on: Queryable, hub: KeepDays, own: OwnDays): AsyncGenerator<OwnDay> {
  const soonest = shortest(hub, own)
  const late: Trimming[] = []
  for (const trimming of TRIMMINGS) {
    const { table, subject } = trimming
    if (await hasDaysPast(on, table, soonest[subject])) late.push(trimming)
  }
  if (late.length === 0) return
  for (const { id: tenantId } of await listOwners(on, {}))
    for (const { subject, table } of late) {
      const days = keptBy(hub, own, tenantId, subject)
      for (const { day } of await listDaysToTrim(on, { tenantId, subject, table, days }))
        yield { tenantId, subject, table, day, days }
    }
}

/** Removes what is past its time; rows by subject. Ends early when `stop` says so. */
export async function trimAll(
  db: Db,
  { hub, own }: { readonly hub: KeepDays; readonly own: OwnDays },
  stop?: AbortSignal,
): Promise<ReadonlyMap<Subject, number>> {
  const removed = new Map<Subject, number>()
  /** Of the workspace and subject that is being looked at: the last day of which nothing is left. */
  let open: { readonly at: OwnDay; doneUntil: string | null; unbroken: boolean } | undefined
  const close = async (): Promise<void> => {
    if (open) await rememberTrim(db, { ...open.at, doneUntil: open.doneUntil })
    open = undefined
  }
  for await (const at of daysToTrim(db, hub, own)) {
    if (open && (open.at.tenantId !== at.tenantId || open.at.subject !== at.subject)) await close()
    open ??= { at, doneUntil: null, unbroken: true }
    if (stop?.aborted) return removed
    const trimming = TRIMMINGS.find(({ subject }) => subject === at.subject)
    let gone = BATCH
    while (trimming && gone === BATCH && !stop?.aborted) {
      gone = await trimming.trim(db, { ...at, most: BATCH })
      removed.set(at.subject, (removed.get(at.subject) ?? 0) + gone)
    }
    const left = await countRows(db, at)
    // A job that is not over keeps its rows: such a day is looked at again.
    open.unbroken &&= left?.rows === 0
    if (open.unbroken) open.doneUntil = at.day
  }
  await close()
  return removed
}
