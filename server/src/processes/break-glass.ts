/**
 * The listener of emergencies: the routes of the control plane for callers of its own, at an address of its own.
 * Wiring only.
 */
import { type Alert, authenticateEmergency } from '../features/break-glass/break-glass.ts'
import { PLANE_SCOPES } from '../features/identities/identities.ts'
import { withoutImpersonationHeaders } from '../features/impersonation/impersonation.ts'
import { authorizationOf } from '../features/permissions/permissions.ts'
import { createMetrics } from '../platform/metrics.ts'
import { addControlRoutes, addEmergencyRoutes, type ControlParts } from './control-routes.ts'
import { adminSubjects, holdFor, proveFor } from './operators.ts'
import { createProcessServer, databaseCheck, type Environment, type Listener } from './runtime.ts'
import { VERSION } from './version.ts'

const ALERT_TIMEOUT_MS = 5_000

/**
 * Posts the alert to an address of the operators' choice; what is not a 2xx within seconds is no alert. Not over the
 * dial: that keeps workspaces from calling what is inside of the network, and has breakers and limits that an emergency
 * must not wait for. This address is the hub's own setting, and where it leads by a redirect is not.
 */
const alertTo =
  (url: string) =>
  async (alert: Alert): Promise<void> => {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        type: 'break_glass.opening',
        session_id: alert.sessionId,
        subject: alert.subject,
        reason: alert.reason,
        ticket: alert.ticket,
        ip: alert.ip,
        minutes: alert.minutes,
        admins: alert.admins,
      }),
      redirect: 'error',
      signal: AbortSignal.timeout(ALERT_TIMEOUT_MS),
    })
    await answer.body?.cancel()
    if (!answer.ok) throw new Error(`the alert address answered ${answer.status}`)
  }

/** Undefined when the configuration has no break-glass listener. */
export async function buildBreakGlass(
  environment: Environment,
  parts: ControlParts,
): Promise<Listener | undefined> {
  const { breakGlass } = environment.config
  if (!breakGlass) return undefined
  const { access } = parts
  // Metrics of its own: what is counted here must not be lost in what the ordinary listener counts.
  const platform = { ...parts.platform, metrics: createMetrics('break-glass', false) }
  const app = await createProcessServer(environment, platform, {
    checks: [databaseCheck(platform.db)],
    access: {
      authenticate: withoutImpersonationHeaders(authenticateEmergency(platform.db)),
      authorization: authorizationOf(PLANE_SCOPES.control),
    },
    allowFrom: breakGlass.allowCidrs,
    tls: environment.config.tls,
    openApi: {
      title: 'Orchestrator: break-glass',
      description: 'The control plane for emergency sessions, opened by POST /break-glass/open.',
      version: VERSION,
      tags: ['break-glass'],
    },
  })
  addControlRoutes(app, { ...parts, platform })
  addEmergencyRoutes(app, {
    db: platform.db,
    environment: environment.config.environment,
    directory: access.directory,
    prove: proveFor(parts.operators),
    hold: holdFor,
    admins: () => adminSubjects(parts.operators),
    alert: breakGlass.alertUrl === undefined ? undefined : alertTo(breakGlass.alertUrl),
  })
  return {
    app,
    place: {
      name: 'break-glass',
      host: breakGlass.host,
      port: breakGlass.port,
      hostVariable: 'BREAK_GLASS_HOST',
      portVariable: 'BREAK_GLASS_PORT',
    },
  }
}
