import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { takesLead } from '../../queue/leader.ts'
import { type Loop, startLoop } from '../../queue/loop.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { ExecutionKeys, Executor } from './execute.ts'
import { type DueRow, loseExecutions, removeExpired, takeDue } from './execution-keys.sql.ts'

export interface ExecutionCareDeps {
  readonly platform: Platform
  readonly directory: Pick<WorkspaceDirectory, 'find'>
  readonly executor: Pick<Executor, 'rerun' | 'stop'>
  readonly keys: Pick<ExecutionKeys, 'end'>
  readonly timing?: Partial<typeof TIMING>
}

/**
 * Finds the executions whose process has died, runs those with an unknown outcome again whose upstream takes our
 * key, and forgets keys whose time is over. Any number of workers may do it at once.
 */
export interface ExecutionCare {
  start(): void
  /** Gives up what it runs again, and resolves when that is recorded. */
  stop(): Promise<void>
}

const TIMING = { lostMs: 5_000, dueMs: 2_000, expiredMs: 60_000 }
const LEADER = 'execution_keys'
const LEAD_MS = 30_000
/** A claim may commit later than the moment that it counts from; no statement lives longer than 30 s. */
const OVERLAP_MS = 60_000
const RERUNS = 10
/** The longest total time that a policy can give, and the slack of every lease. */
const RERUN_LEASE_MS = 75_000
const EXPIRED_BATCH = 1_000

export function createExecutionCare(deps: ExecutionCareDeps): ExecutionCare {
  const { platform, directory, executor, keys } = deps
  const { db, clock, random, log, metrics } = platform
  const timing = { ...TIMING, ...deps.timing }
  const unknown = metrics.counter(
    'executions_unknown_total',
    'Executions whose process died before they ended',
  )
  const reruns = metrics.counter(
    'execution_reruns_total',
    'Executions with an unknown outcome that were run again',
  )
  const owner = newId()
  let loops: Loop[] = []
  let since: Date | undefined

  const lose = async (): Promise<undefined> => {
    if (!(await takesLead(db, { name: LEADER, owner, ttlMs: LEAD_MS }))) {
      // Whoever leads next looks at everything once.
      since = undefined
      return
    }
    const { looked_until, lost, freed } = await loseExecutions(db, { since })
    since = new Date(looked_until.getTime() - OVERLAP_MS)
    unknown.inc(lost)
    if (lost + freed > 0) log.warn({ lost, freed }, 'executions of dead processes: their outcome is unknown')
  }

  const again = async (due: DueRow): Promise<void> => {
    const workspace = await directory.find(due.tenant_id).catch(() => undefined)
    if (workspace?.status === 'active') {
      reruns.inc()
      return executor.rerun(due)
    }
    await keys.end({
      tenantId: due.tenant_id,
      key: due.key,
      executionId: due.execution_id,
      lease: due.lease,
      to: 'unknown',
      again: true,
    })
  }

  const runDue = async (): Promise<boolean> => {
    const rows = await takeDue(db, { limit: RERUNS, leaseMs: RERUN_LEASE_MS })
    await Promise.all(rows.map(again))
    return rows.length === RERUNS
  }

  const forget = async (): Promise<boolean> =>
    (await removeExpired(db, { limit: EXPIRED_BATCH })) === EXPIRED_BATCH

  /** `work` says whether there is more of it. */
  const every = (name: string, ms: number, work: () => Promise<boolean | undefined>): Loop =>
    startLoop({
      name,
      clock,
      random,
      log,
      work: async () => ((await work()) ? 0 : ms * (0.75 + random() / 2)),
    })

  return {
    start: () => {
      loops = [
        every('lost executions', timing.lostMs, lose),
        every('unknown executions', timing.dueMs, runDue),
        every('expired execution keys', timing.expiredMs, forget),
      ]
    },
    stop: async () => {
      const stopped = Promise.all(loops.map((loop) => loop.stop()))
      await executor.stop()
      await stopped
    },
  }
}
