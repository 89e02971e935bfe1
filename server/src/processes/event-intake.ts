/** The one way into the inbox, for every process that takes events: received, pulled and released ones. Wiring only. */
import type { ActiveConfigs } from '../features/configs/configs.ts'
import type { Payloads } from '../features/payloads/payloads.ts'
import { type AcceptEvents, createEventAcceptor, createIntake } from '../features/webhooks/webhooks.ts'
import type { WorkspaceDirectory } from '../features/workspaces/workspaces.ts'
import type { Platform } from '../platform/platform.ts'
import type { WakeUp } from '../queue/wake-up.ts'
import { deliveryTargets } from './delivery-targets.ts'

export interface EventIntake {
  readonly acceptEvents: AcceptEvents
  /** Resolves when every event that was taken is answered. */
  close(): Promise<void>
}

export function openEventIntake(
  platform: Pick<Platform, 'db' | 'metrics'>,
  deps: {
    readonly workspaces: Pick<WorkspaceDirectory, 'find'>
    readonly activeConfigs: ActiveConfigs
    readonly wakeUp: Pick<WakeUp, 'hint'>
    readonly payloads: Payloads
  },
): EventIntake {
  const { workspaces, activeConfigs, wakeUp, payloads } = deps
  const intake = createIntake({ db: platform.db, wakeUp, payloads })
  return {
    acceptEvents: createEventAcceptor({
      ...{ platform, workspaces, intake },
      activeConnector: deliveryTargets(activeConfigs),
    }),
    close: () => intake.close(),
  }
}
