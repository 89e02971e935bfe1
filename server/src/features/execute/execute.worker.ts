import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { takesLead } from '../../queue/leader.ts'
import { type Loop, startLoop } from '../../queue/loop.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { ExecutionKeys, Executor } from './execute.ts'
import { type Busy, type DueRow, loseExecutions, removeExpired, takeDue } from './execution-keys.sql.ts'

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
/** Leases that one statement looks at: it takes some tens of ms. */
const LOOK = 10_000
/** Executions that one worker runs again at once, and of them those of one workspace and of one connector. */
const SLOTS = 20
const SLOTS_OF_WORKSPACE = 8
const SLOTS_OF_CONNECTOR = 4
/** Few at a time, because what is taken may all be of one connector. */
const TAKE = 2
/** The longest total time that a policy can give, and the slack of every lease. */
const RERUN_LEASE_MS = 75_000
const EXPIRED_BATCH = 1_000

/** How far the look for dead executions has come; `began` while it has not come to its end. Clock of the database. */
interface Looked {
  readonly until?: string
  readonly began?: Date
}

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
  const running = new Map<DueRow, Promise<void>>()
  let looked: Looked = {}

  /** One step: what it has looked at stays looked at, also when the next step fails. */
  const lose = async (): Promise<boolean> => {
    if (!(await takesLead(db, { name: LEADER, owner, ttlMs: LEAD_MS }))) {
      // Whoever leads next looks at everything once.
      looked = {}
      return false
    }
    const found = await loseExecutions(db, { since: looked.until, maxRows: LOOK })
    const began = looked.began ?? found.looked_at
    looked = found.more
      ? { until: found.looked_until, began }
      : { until: new Date(began.getTime() - OVERLAP_MS).toISOString() }
    const { lost, freed, more } = found
    unknown.inc(lost)
    if (lost + freed > 0) log.warn({ lost, freed }, 'executions of dead processes: their outcome is unknown')
    return more
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

  const begin = (due: DueRow): void => {
    const work = again(due).finally(() => running.delete(due))
    running.set(due, work)
  }

  /** Fills the free slots; says whether all are taken, and one of them is free again. */
  const runDue = async (): Promise<boolean> => {
    while (running.size < SLOTS) {
      const limit = Math.min(TAKE, SLOTS - running.size)
      const rows = await takeDue(db, { limit, leaseMs: RERUN_LEASE_MS, busy: busyOf([...running.keys()]) })
      rows.forEach(begin)
      if (rows.length === 0) return false
    }
    await Promise.race(running.values())
    return true
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
      // A round that was under way may have begun some more.
      await executor.stop()
      await Promise.all(running.values())
    },
  }
}

/** Who has so many slots that two more would be too many. */
function busyOf(running: readonly DueRow[]): Busy[] {
  const count = (fits: (due: DueRow) => boolean) => running.filter(fits).length
  return running.flatMap(({ tenant_id: tenantId, connector }): Busy[] => {
    const ofWorkspace = count((due) => due.tenant_id === tenantId)
    if (ofWorkspace > SLOTS_OF_WORKSPACE - TAKE) return [{ tenantId }]
    const ofConnector = count((due) => due.tenant_id === tenantId && due.connector === connector)
    return ofConnector > SLOTS_OF_CONNECTOR - TAKE ? [{ tenantId, connector }] : []
  })
}
