/**
 * Retention: tables that are partitioned by the day lose whole days, never rows.
 *
 * A day goes in four steps: it is looked at, sealed (no row of it changes any more, none is added), looked at again
 * and dropped. What the second look finds nothing against, nothing can come to be against. Looks read without locks
 * and may take long; seal and drop need a lock that everybody else would wait behind, and give up after a moment.
 * Every step can be the last one of a process: the next round goes on, or takes the seal off.
 */
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Db } from './db.ts'
import { type DueDayRow, dropDay, limitStatements, listDueDays, sealDay, sizeOfDay } from './retention.sql.ts'
import type { Queryable, Tx } from './statement.ts'

/** Why a day has to stay. */
export interface Hold {
  readonly why: string
  /** Nothing changes before that; absent: looked at again a day later. */
  readonly lookAgainInMs?: number
}

export interface RetentionRule {
  /** Tables whose rows refer to each other: of one day all go or none. The first one is sealed. */
  readonly tables: readonly [string, ...string[]]
  /** A day is kept until so many days after its end, at least 2. */
  readonly keepDays: number
  /** Looks for something in the day (`YYYY-MM-DD`, UTC) for which it must stay. Absent: there never is. */
  heldBy?(tx: Tx, day: string): Promise<Hold | undefined>
  /** Removes what other tables have left of the day, just before it goes; may happen more than once. */
  forget?(on: Queryable, day: string): Promise<void>
}

/** `busy`: the lock was not to be had; `failed`: the log says why. Both are tried again in the next round. */
export interface DayReport {
  readonly tables: readonly string[]
  readonly day: string
  readonly result: 'dropped' | 'held' | 'busy' | 'failed'
  /** Of a day that is held. */
  readonly why?: string
  /** Of a day that was dropped. */
  readonly bytes?: number
}

type Outcome = Omit<DayReport, 'tables' | 'day'> & Partial<Hold>

export interface RetentionOptions {
  readonly db: Db
  readonly log: Log
  readonly metrics: Metrics
  readonly clock: Clock
  /** Asked anew in each round. */
  readonly rules: () => Promise<readonly RetentionRule[]>
}

const DAY_MS = 86_400_000
/** A look reads a day, which may be big; no longer, because its snapshot keeps dead rows everywhere. */
const LOOK_MS = 120_000
/** All locks of a drop together, and the drop. */
const LOCKED_MS = 1_000
const TRIES = 5
const PAUSE_MS = 5_000
/** Lock not available, cancelled by the statement timeout, deadlock. */
const BUSY = new Set(['55P03', '57014', '40P01'])

const isBusy = (error: unknown): boolean => BUSY.has(String((error as { code?: unknown } | null)?.code))

const create = (metrics: Metrics) => ({
  dropped: metrics.counter('retention_dropped_partitions_total', 'Partitions dropped by retention', [
    'table',
  ]),
  freed: metrics.counter('retention_freed_bytes_total', 'Size of the dropped partitions', ['table']),
  removed: metrics.counter(
    'retention_removed_rows_total',
    'Rows that retention took out of days that stay, and of logs without days',
    ['subject'],
  ),
  overdue: metrics.gauge(
    'retention_overdue_days',
    'Days past their keep time that are still there (of the last round, reported by one worker)',
    ['table', 'why'],
  ),
})

const created = new WeakMap<Metrics, ReturnType<typeof create>>()

/** The metrics of retention; several rounds of one process share them. */
export function retentionMetrics(metrics: Metrics): ReturnType<typeof create> {
  const known = created.get(metrics) ?? create(metrics)
  created.set(metrics, known)
  return known
}

/**
 * Makes the function that is one round over all rules; it reports every day that was due and looked at. Days that had
 * to stay are remembered and left out of the rounds of the next day. Rounds at the same time do no harm.
 */
export function createRetention(options: RetentionOptions): (stop?: AbortSignal) => Promise<DayReport[]> {
  const { db, log, clock, rules } = options
  const metrics = retentionMetrics(options.metrics)
  const lookAgainAt = new Map<string, number>()

  const look = async (rule: RetentionRule, day: string): Promise<Hold | undefined> =>
    rule.heldBy &&
    (await db.transaction(async (tx) => {
      await limitStatements(tx, { ms: LOOK_MS })
      return rule.heldBy?.(tx, day)
    }))

  /** What `work` gives; undefined when it did not get its locks in any of a few tries. */
  const locked = async <T>(work: () => Promise<T>, stop: AbortSignal | undefined): Promise<T | undefined> => {
    for (let tries = 1; ; tries += 1)
      try {
        return await work()
      } catch (error) {
        if (!isBusy(error)) throw error
        if (tries === TRIES) return undefined
        await clock.sleep(PAUSE_MS, stop).catch(() => undefined)
        if (stop?.aborted) return undefined
      }
  }

  const seal = async (rule: RetentionRule, day: string, sealed: boolean, stop?: AbortSignal) =>
    (await locked(() => sealDay(db, { table: rule.tables[0], day, sealed }), stop)) !== undefined

  const drop = (rule: RetentionRule, day: string, stop?: AbortSignal) =>
    locked(
      () =>
        db.transaction(async (tx) => {
          await limitStatements(tx, { ms: LOCKED_MS })
          return dropDay(tx, { tables: rule.tables, day })
        }),
      stop,
    )

  const handle = async (
    rule: RetentionRule,
    { day, sealed }: DueDayRow,
    stop?: AbortSignal,
  ): Promise<Outcome> => {
    // With the seal still on, whatever holds the day could not come to its end: that is no day to be left alone.
    const stay = async (hold: Hold, isSealed: boolean): Promise<Outcome> =>
      isSealed && !(await seal(rule, day, false, stop)) ? { result: 'busy' } : { result: 'held', ...hold }

    const hold = await look(rule, day)
    if (hold) return stay(hold, sealed)
    if (rule.heldBy) {
      if (!(await seal(rule, day, true, stop))) return { result: 'busy' }
      const latest = await look(rule, day)
      if (latest) return stay(latest, true)
    }
    await rule.forget?.(db, day)
    const gone = await drop(rule, day, stop)
    if (gone === undefined) return { result: 'busy' }
    for (const { name, bytes } of gone) {
      metrics.dropped.inc({ table: name })
      metrics.freed.inc({ table: name }, bytes)
    }
    return { result: 'dropped', bytes: gone.reduce((sum, { bytes }) => sum + bytes, 0) }
  }

  const tell = ({ result, ...about }: DayReport): void => {
    if (result === 'dropped') log.info(about, 'a day of history was dropped')
    if (result === 'held') log.info(about, 'a day of history is past its time and has to stay')
    if (result === 'busy')
      log.warn(about, 'a day of history could not be locked; tried again in the next round')
  }

  return async (stop) => {
    const reports: DayReport[] = []
    const stays: { readonly table: string; readonly why: 'held' | 'busy' | 'failed' }[] = []
    for (const rule of await rules()) {
      const { tables, keepDays } = rule
      for (const due of await listDueDays(db, { tables, keepDays })) {
        if (stop?.aborted) return reports
        const key = `${tables[0]} ${due.day}`
        const remembered = lookAgainAt.get(key)
        if (remembered !== undefined && clock.monotonic() < remembered) {
          stays.push({ table: tables[0], why: 'held' })
          continue
        }
        lookAgainAt.delete(key)
        const { lookAgainInMs = DAY_MS, ...outcome } = await handle(rule, due, stop).catch(
          (err: unknown): Outcome => {
            log.error(
              { err, tables, day: due.day },
              'retention of a day failed; tried again in the next round',
            )
            return { result: 'failed' }
          },
        )
        const report: DayReport = { tables, day: due.day, ...outcome }
        tell(report)
        reports.push(report)
        if (report.result === 'held') lookAgainAt.set(key, clock.monotonic() + lookAgainInMs)
        if (report.result !== 'dropped') stays.push({ table: tables[0], why: report.result })
      }
    }
    metrics.overdue.reset()
    for (const { table, why } of stays) metrics.overdue.inc({ table, why })
    return reports
  }
}

/** Whether a table still has a day that ended so many days ago. */
export const hasDaysPast = async (on: Queryable, table: string, keepDays: number): Promise<boolean> =>
  (await listDueDays(on, { tables: [table], keepDays })).length > 0

/** A day that is past its time, and what a round would do with it. */
export interface DuePreview {
  readonly tables: readonly string[]
  readonly day: string
  readonly bytes: number
  /** Why it stays; null = it would be dropped. */
  readonly heldBy: string | null
}

/** What a round would find, without any lock or change. */
export async function previewRetention(
  db: Db,
  rules: readonly RetentionRule[],
): Promise<readonly DuePreview[]> {
  const previews: DuePreview[] = []
  for (const rule of rules)
    for (const { day } of await listDueDays(db, rule)) {
      const hold = await db.transaction(async (tx) => {
        await limitStatements(tx, { ms: LOOK_MS })
        return rule.heldBy?.(tx, day)
      })
      const { bytes } = await sizeOfDay(db, { tables: rule.tables, day })
      previews.push({ tables: rule.tables, day, bytes, heldBy: hold?.why ?? null })
    }
  return previews
}
