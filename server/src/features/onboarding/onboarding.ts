/**
 * The door of the onboarding feature: the checklist by which a product's workspace is verified on the live system.
 *
 * A run is started and goes on by itself; its lines can be read as they come. States: running → passed | failed, or
 * broken_off when its process died. Invariants. One run of a workspace at a time. A run works over the public API as
 * a service identity of its own that is revoked at its end, calls nothing but the fault-injecting target, and takes
 * away what it has added, by exact names that no product may take. What one that died has left, a control process or the
 * next run takes away. Nothing of the product is changed.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import { newId } from '../../platform/ids.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf } from '../audit/audit.ts'
import { buildStage, type StageDeps, type StagedRun } from './build-stage.ts'
import type { Check, Line } from './check.ts'
import { CHECKLIST } from './checklist.ts'
import * as sql from './onboarding.sql.ts'
import { runCheck, runChecklist } from './run-checklist.ts'
import type { Stage, Subject } from './stage.ts'
import { SILENT_MS, sweepLeftRuns } from './sweep.ts'
import { NotShown, passed } from './verdict.ts'

export type { Line } from './check.ts'
export { type FaultTarget, startFaultTarget } from './fault-target.ts'
export { createSearchText } from './text-search.ts'

export interface Run {
  readonly id: string
  readonly state: sql.RunState
  readonly startedBy: string
  readonly reason: string
  readonly lines: readonly Line[]
  readonly startedAt: Date
  readonly endedAt: Date | null
}

export interface Verifications {
  /** Starts a run. Errors: `conflict` while another one runs. */
  start(of: {
    readonly subject: Subject
    readonly targetUrl: string | undefined
    readonly change: Change
  }): Promise<Run>
  /** One that has been silent for too long is told as broken off. Errors: `not_found`. */
  find(key: { readonly tenantId: string; readonly id: string }): Promise<Run>
  /** Takes away what dead runs have left, now and every minute. */
  startSweeping(): void
  /** Breaks the runs of this process off and waits until they have cleared up. */
  close(): Promise<void>
}

export interface VerificationDeps extends StageDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
}

/** A run that takes longer hangs somewhere. */
const LONGEST_MS = 240_000
const SWEEP_EVERY_MS = 60_000
const ALIVE_EVERY_MS = 10_000
const KEPT_RUNS = 50
const LONGEST_REASON = 500

const toRun = (row: sql.RunRow): Run => ({
  id: row.id,
  state: row.state,
  startedBy: row.started_by,
  reason: row.reason,
  lines: row.lines as Line[],
  startedAt: row.started_at,
  endedAt: row.ended_at,
})

export function createVerifications(deps: VerificationDeps): Verifications {
  const { db, log } = deps
  const stopping = new AbortController()
  const underWay = new Set<Promise<void>>()

  const find: Verifications['find'] = async (key) => {
    await sql.breakOffSilent(db, { tenantId: key.tenantId, silentMs: SILENT_MS })
    const row = await sql.findRun(db, key)
    if (!row) throw new Problem('not_found', 'There is no such verification.')
    return toRun(row)
  }

  return {
    start: async ({ subject, targetUrl, change }) => {
      const { tenantId } = subject
      const id = newId()
      await begin(db, { tenantId, id, change })
      const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(LONGEST_MS)])
      const running = verify(deps, { id, subject, targetUrl, change, signal })
        .catch((error: unknown) => log.error({ err: error, run: id }, 'a verification could not be ended'))
        .finally(() => underWay.delete(running))
      underWay.add(running)
      return find({ tenantId, id })
    },
    find,
    startSweeping: () => {
      const sweeping = keepSweeping(deps, stopping.signal).finally(() => underWay.delete(sweeping))
      underWay.add(sweeping)
    },
    close: async () => {
      stopping.abort(new Error('the control process stops'))
      await Promise.all(underWay)
    },
  }
}

async function keepSweeping(deps: VerificationDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepLeftRuns(deps, signal).catch((err: unknown) =>
      deps.log.warn({ err }, 'it could not be seen what verifications have left'),
    )
    await deps.clock.sleep(SWEEP_EVERY_MS, signal).catch(() => undefined)
  }
}

async function begin(
  db: Db,
  { tenantId, id, change }: { readonly tenantId: string; readonly id: string; readonly change: Change },
): Promise<void> {
  await sql.breakOffSilent(db, { tenantId, silentMs: SILENT_MS })
  await sql.forgetOldRuns(db, { tenantId, keep: KEPT_RUNS })
  try {
    await sql.insertRun(db, { tenantId, id, startedBy: nameOf(change), reason: change.reason })
  } catch (error) {
    if (violatesUnique(error, 'onboarding_run_one_at_a_time'))
      throw new Problem(
        'conflict',
        'The workspace is being verified already, or what a verification has left is being taken away.',
      )
    throw error
  }
}

interface NewRun {
  readonly id: string
  readonly subject: Subject
  readonly targetUrl: string | undefined
  readonly change: Change
  readonly signal: AbortSignal
}

async function verify(deps: VerificationDeps, run: NewRun): Promise<void> {
  const { db, clock } = deps
  const key = { tenantId: run.subject.tenantId, id: run.id }
  const reason = `onboard verify ${run.id}: ${run.change.reason}`.slice(0, LONGEST_REASON)
  const change = { ...run.change, reason }
  const lost = new AbortController()
  const lose = (): never => {
    const why = new NotShown('The run was taken for dead, and another one may have begun.', 'Run it again.')
    lost.abort(why)
    throw why
  }
  const signal = AbortSignal.any([run.signal, lost.signal])
  let lines: readonly Line[] = []
  const tell = async (now: readonly Line[]): Promise<void> => {
    lines = [...now]
    if (!(await sql.tellLines(db, { ...key, lines }))) lose()
  }
  const heart = new AbortController()
  const beating = beat(() => tell(lines), clock, heart.signal)
  let cleared = false
  try {
    const done = await withStage(deps, { ...run, change, reason, signal, lose }, tell)
    lines = done.lines
    cleared = done.cleared
  } catch (error) {
    if (!lost.signal.aborted) throw error
  } finally {
    if (lost.signal.aborted)
      deps.log.warn({ run: run.id }, 'a verification was taken for dead, and has broken itself off')
    heart.abort()
    await beating
    const state = lines.length > 0 && lines.every(({ status }) => status !== 'failed') ? 'passed' : 'failed'
    await sql.endRun(db, { ...key, state, lines, cleared })
  }
}

async function beat(tell: () => Promise<void>, clock: Clock, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(ALIVE_EVERY_MS, signal).catch(() => undefined)
    // A beat that is lost is made up for by the next one; the lines are written at the end in any case.
    if (!signal.aborted) await tell().catch(() => undefined)
  }
}

const OPENING: Omit<Check, 'run'> = {
  name: 'control',
  proves: 'The control API answers the run’s own service identity.',
  mend: 'See CONTROL_URL, and what the hub has refused.',
}
/** The last line, whatever came before it. */
export const nothingLeft = (clear: () => Promise<void>): Check => ({
  name: 'nothing-left',
  proves: 'What the run has added is gone again, and its identity revoked.',
  mend: 'See what the hub has refused; control tries again each minute, and so does the next verification.',
  run: async () => {
    await clear()
    return passed('all taken away')
  },
})

async function withStage(
  deps: VerificationDeps,
  run: StagedRun,
  tell: (lines: readonly Line[]) => Promise<void>,
): Promise<{ readonly lines: Line[]; readonly cleared: boolean }> {
  let built: Awaited<ReturnType<typeof buildStage>> | undefined
  const nowhere = { signal: run.signal } as Stage
  const opening = await runCheck(
    {
      ...OPENING,
      run: async () => {
        built = await buildStage(deps, run)
        return passed(deps.urls.control)
      },
    },
    nowhere,
    new Map(),
    deps,
  )
  if (!built) return { lines: [opening], cleared: true }
  const { stage, clear } = built
  let lines: Line[] = []
  try {
    await tell([opening])
    lines = await runChecklist(CHECKLIST, stage, {
      ...deps,
      onLine: (now) => tell([opening, ...now]),
    })
  } finally {
    const closing = await runCheck(
      nothingLeft(clear),
      { ...stage, signal: new AbortController().signal },
      new Map(),
      deps,
    )
    lines = [opening, ...lines, closing]
  }
  return { lines, cleared: lines.at(-1)?.status === 'passed' }
}
