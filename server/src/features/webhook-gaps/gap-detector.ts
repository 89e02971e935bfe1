import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Executor } from '../execute/execute.ts'
import { getRoute, type RouteDirectory, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { AcceptEvents } from '../webhooks/webhooks.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { askedRoute, whyOf } from './asking.ts'
import { type CheckTiming, checkRoute, LostLease } from './check-route.ts'
import * as checksSql from './gap-checks.sql.ts'
import { pullGap } from './pull-gap.ts'
import * as sql from './webhook-gaps.sql.ts'

export interface GapDetectorDeps {
  readonly platform: Pick<Platform, 'db' | 'log' | 'metrics'>
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
  /** A page takes as long as an execution: at most a minute. */
  leaseMs: 3 * 60_000,
  maxPages: 50,
  firstAgainMs: 30_000,
} satisfies CheckTiming & { readonly firstAgainMs: number }
const LAST_CHECK_AGAIN_MS = 15 * 60_000
const LAST_PULL_AGAIN_MS = 60 * 60_000
/** About six hours. */
const MAX_PULLS = 12
const PULLS_AT_ONCE = 4
/** After so many failures in a row the page itself is doubted: it may be gone at the provider. */
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

  const againMs = (failures: number, most: number): number =>
    Math.min(most, timing.firstAgainMs * 2 ** Math.min(failures, 20))

  const routeOf = (tenantId: string, id: string): Promise<WebhookRoute | undefined> =>
    getRoute(db, tenantId, id).catch(() => undefined)

  const isActive = async (tenantId: string): Promise<boolean> =>
    (await workspaces.find(tenantId))?.status === 'active'

  async function check(
    due: checksSql.DueCheck,
    held: checksSql.HeldCheck,
    stopping: AbortSignal,
  ): Promise<void> {
    const { tenantId, routeId } = held
    const route = await routeOf(tenantId, routeId)
    const provider = route?.provider ?? 'none'
    try {
      const asked = askedRoute(executor, route)
      if (!asked || !(await isActive(tenantId))) {
        await checksSql.letGo(db, { ...held, againMs: SUSPENDED_MS })
        return
      }
      const { found } = await checkRoute(db, asked, due, held, timing, stopping)
      checks.inc({ provider, result: 'ok' })
      if (found > 0) log.warn({ tenant_id: tenantId, route_id: routeId, found }, 'webhooks are missing')
    } catch (error) {
      if (error instanceof LostLease) return
      checks.inc({ provider, result: 'failed' })
      log.warn({ err: error, tenant_id: tenantId, route_id: routeId }, 'a check for missing webhooks failed')
      await checksSql.failCheck(db, {
        ...held,
        error: whyOf(error),
        againMs: againMs(due.failures, LAST_CHECK_AGAIN_MS),
        fromFirstPage: due.failures + 1 >= DOUBTED_AFTER,
      })
    }
  }

  async function pull(gap: sql.GapRow): Promise<void> {
    const { tenant_id: tenantId, id, route_id: routeId } = gap
    const route = await routeOf(tenantId, routeId)
    const provider = route?.provider ?? 'none'
    try {
      const asked = askedRoute(executor, route)
      if (!asked) throw new Error('the route has no check any more')
      if (!(await isActive(tenantId))) throw new Error('the workspace is not active')
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
      const gaps = await sql.takeWanted(db, { limit: PULLS_AT_ONCE, leaseMs: timing.leaseMs })
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
