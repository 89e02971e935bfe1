import type { Clock } from '../../../platform/clock.ts'
import type { Log } from '../../../platform/log.ts'
import { createTellSeldom } from '../tell-seldom.ts'
import type { RouteVerdict } from './verify-route.ts'

/**
 * The own people of a route must see why a secret did not count: one without a value always, one outside of its window
 * when it may be why nothing verifies. Of routes that do not verify only when none does. Not for every request.
 */
export function createTellAbsent(
  log: Log,
  clock: Pick<Clock, 'now'>,
): (verdicts: readonly RouteVerdict[]) => void {
  const seldom = createTellSeldom(clock)
  return (verdicts) => {
    const someone = verdicts.some(({ verified }) => verified)
    for (const { route, absent, verified } of verdicts)
      for (const { secretRef, why } of absent) {
        if (someone && (why === 'outside_its_window' || !verified)) continue
        const untold = seldom(`${why}/${route.id}/${secretRef}`)
        if (untold === undefined) continue
        const about = { tenant_id: route.tenantId, route_id: route.id, secret_ref: secretRef, untold }
        if (why === 'unresolved') log.error(about, 'the signing secret of a webhook route does not resolve')
        else log.info(about, 'a signing secret of a webhook route is outside of its window')
      }
  }
}
