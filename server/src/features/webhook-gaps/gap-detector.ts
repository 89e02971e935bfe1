import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { Executor } from '../execute/execute.ts'
import { findRoute, type RouteDirectory } from '../webhook-routes/webhook-routes.ts'
import type { AcceptEvents } from '../webhooks/webhooks.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { askedRoute, whyOf } from './asking.ts'
import { type CheckTiming, checkRoute, LostLease } from './check-route.ts'
import * as checksSql from './gap-checks.sql.ts'
import { keepingLease } from './keep-lease.ts'
import { pullGap } from './pull-gap.ts'
import * as sql from './webhook-gaps.sql.ts'

export interface GapDetectorDeps {
  readonly platform: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>
  readonly executor: Pick<Executor, 'execute'>
  readonly routes: RouteDirectory
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  readonly acceptEvents: AcceptEvents
  readonly timing?: Partial<typeof TIMING>
}

/** The work of the detector in steps. Any number of workers may take them at once. */
export interface GapDetector {
  /** Checks one route that is due; false = none is. */
  checkNext(stopping: AbortSignal): Promise<boolean>
  /** Pulls in some of the events that somebody wants; false = none is. */
  pullSome(): Promise<boolean>
  /** Notes what has come in by itself and forgets what is old; true = there is more of it. */
  sweep(): Promise<boolean>
}

const TIMING = {
  graceMs: 5 * 60_000,
  /** Of a check: renewed while its worker lives, so short that another one soon goes on with it. */
  leaseMs: 30_000,
  /** Fetching and taking one event takes as long as an execution: at most a minute. */
  pullLeaseMs: 3 * 60_000,
  maxPages: 50,
  turnPauseMs: 10_000,
  /** Of Stripe 200,000 events. */
  maxPagesOfCheck: 2_000,
  firstAgainMs: 30_000,
} satisfies CheckTiming & Record<string, number>
/** Or as often as the route is checked anyway, if that is less often. */
const LAST_CHECK_AGAIN_MS = 60 * 60_000
const LAST_PULL_AGAIN_MS = 60 * 60_000
/** About six hours. */
const MAX_PULLS = 12
const PULLS_AT_ONCE = 4
/** After so many failures in a row of one page the check has failed: the page may be gone at the provider. */
const DOUBTED_AFTER = 3
const SUSPENDED_MS = 60_000
const SWEEP = 1_000
/** Three times what the longest list of a provider goes back. */
const KEEP_DAYS = 90

export function createGapDetector(deps: GapDetectorDeps): GapDetector {
  const { executor, routes, workspaces } = deps
  const { db, log, metrics } = deps.platform
  const timing = { ...TIMING, ...deps.timing }
  const checks = metrics.counter('webhook_gap_checks_total', "Looks into providers' own lists of events", [
    'provider',
    'result',
  ])
  const pulls = metrics.counter('webhook_gap_pulls_total', 'Events fetched out of the list of a provider', [
    'provider',
    'result',
  ])
  const missing = metrics.gauge('webhook_gaps_missing', 'Events that providers list and that never arrived')

  const againMs = (times: number, most: number, first = timing.firstAgainMs): number =>
    Math.min(most, first * 2 ** Math.min(times, 20))

  const isActive = async (tenantId: string): Promise<boolean> =>
    (await workspaces.find(tenantId))?.status === 'active'

  async function check(
    due: checksSql.DueCheck,
    held: checksSql.HeldCheck,
    stopping: AbortSignal,
  ): Promise<void> {
    const { tenantId, routeId } = held
    let provider = 'none'
    let everyMs = timing.firstAgainMs
    try {
      const route = await findRoute(db, tenantId, routeId)
      provider = route?.provider ?? provider
      if (route?.gapCheck) everyMs = route.gapCheck.everySeconds * 1_000
      const asked = askedRoute(executor, route)
      if (!asked || !(await isActive(tenantId))) {
        await checksSql.letGo(db, { ...held, againMs: SUSPENDED_MS })
        return
      }
      const { found } = await keepingLease(deps.platform, held, timing.leaseMs, () =>
        checkRoute(db, asked, due, held, timing, stopping),
      )
      checks.inc({ provider, result: 'ok' })
      if (found > 0) log.warn({ tenant_id: tenantId, route_id: routeId, found }, 'webhooks are missing')
    } catch (error) {
      if (error instanceof LostLease) return
      checks.inc({ provider, result: 'failed' })
      log.warn({ err: error, tenant_id: tenantId, route_id: routeId }, 'a check for missing webhooks failed')
      await fail(held, whyOf(error), everyMs)
    }
  }

  /** The page is tried again soon. The whole check is not begun anew more often than it is due, and ever more seldom. */
  const fail = (held: checksSql.HeldCheck, error: string, everyMs: number): Promise<unknown> =>
    db.transaction(async (tx) => {
      const before = await checksSql.lockFailures(tx, held)
      if (!before) return
      const anew = before.failures + 1 >= DOUBTED_AFTER
      const waitMs = anew
        ? againMs(before.restarts, Math.max(everyMs, LAST_CHECK_AGAIN_MS), everyMs)
        : againMs(before.failures, everyMs)
      await checksSql.failCheck(tx, { ...held, error, againMs: waitMs, fromFirstPage: anew })
    })

  async function pull(gap: sql.GapRow): Promise<void> {
    const { tenant_id: tenantId, id, route_id: routeId } = gap
    let provider = 'none'
    try {
      const route = await findRoute(db, tenantId, routeId)
      provider = route?.provider ?? provider
      const asked = askedRoute(executor, route)
      if (!asked) throw new Problem('conflict', 'The webhook route has no gap check any more.')
      if (!(await isActive(tenantId)))
        throw new Problem('workspace_suspended', 'The workspace is not active.')
      const result = await pullGap({ ...deps, db }, await routes.refresh(), asked, gap)
      pulls.inc({ provider, result })
    } catch (error) {
      pulls.inc({ provider, result: 'failed' })
      log.warn(
        { err: error, tenant_id: tenantId, route_id: routeId, gap_id: id },
        'a missing webhook could not be pulled',
      )
      await sql.failPull(db, {
        tenantId,
        id,
        error: whyOf(error),
        againMs: gap.pulls >= MAX_PULLS ? null : againMs(gap.pulls - 1, LAST_PULL_AGAIN_MS),
      })
    }
  }

  return {
    checkNext: async (stopping) => {
      const lease = newId()
      const due = await checksSql.takeDueCheck(db, { lease, leaseMs: timing.leaseMs })
      if (!due) return false
      await check(due, { tenantId: due.tenant_id, routeId: due.route_id, lease }, stopping)
      return true
    },
    pullSome: async () => {
      const gaps = await sql.takeWanted(db, { limit: PULLS_AT_ONCE, leaseMs: timing.pullLeaseMs })
      await Promise.all(gaps.map(pull))
      return gaps.length > 0
    },
    sweep: async () => {
      const settled = await sql.settleArrived(db, { limit: SWEEP })
      const removed = await sql.removeOld(db, { days: KEEP_DAYS, limit: SWEEP })
      missing.set((await sql.countMissing(db, {})).missing)
      return settled === SWEEP || removed === SWEEP
    },
  }
}
