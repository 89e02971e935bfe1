import type { Platform } from '../../platform/platform.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { deliveryJob } from './delivery/delivery.ts'
import { receptionOf } from './delivery/reception.ts'
import type { AcceptedWebhook, Intake, VerifiedWebhook } from './intake/take-webhook.ts'

/** An event of which it is known whose it is, whichever way it came. */
export type EventToTake = Omit<VerifiedWebhook, 'reception' | 'delivery'>

export interface EventDeps {
  readonly platform: Pick<Platform, 'metrics'>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  /** The connector's lane and the version of the active config; undefined = the active config has no such connector. */
  readonly activeConnector: (
    tenantId: string,
    connector: string,
  ) => Promise<{ readonly lane: number; readonly configVersion: number } | undefined>
  readonly intake: Pick<Intake, 'take'>
}

/**
 * Takes events of which it is known whose they are, all or none, in one commit; undefined for one whose route has
 * gone. The one way into the inbox, for what was received, pulled and released: the same rule says whether each is
 * delivered, held or ignored. Errors: those of `Intake.take`.
 */
export type AcceptEvents = (
  events: readonly EventToTake[],
) => Promise<readonly (AcceptedWebhook | undefined)[]>

export function createEventAcceptor(deps: EventDeps): AcceptEvents {
  const accepted = deps.platform.metrics.counter(
    'webhooks_accepted_total',
    'Events taken into the inbox, and copies of them',
    ['provider', 'result'],
  )

  const received = async (toTake: EventToTake): Promise<VerifiedWebhook> => {
    const { route, event } = toTake
    const [connector, workspace] = await Promise.all([
      deps.activeConnector(route.tenantId, route.connector),
      deps.workspaces.find(route.tenantId),
    ])
    const reception = receptionOf({ route, event, connector, workspace })
    const delivery =
      reception.state === 'accepted' && connector
        ? (inboxId: string) => deliveryJob({ ...toTake, ...connector, inboxId })
        : undefined
    return { ...toTake, reception, delivery }
  }

  return async (events) => {
    const webhooks = await Promise.all(events.map(received))
    const taken = await deps.intake.take(webhooks)
    for (const [at, { reception, route }] of webhooks.entries()) {
      const result = taken[at]
      if (result)
        accepted.inc({ provider: route.provider, result: result.duplicate ? 'duplicate' : reception.state })
    }
    return taken
  }
}
