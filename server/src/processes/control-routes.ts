/**
 * All routes of the control plane. They stand on more than one listener: the ordinary one, and that of emergencies,
 * each with callers of its own. Wiring only.
 */

import type { Config } from '../config.ts'
import { auditControl } from '../features/audit/audit.control.ts'
import type { Evidence } from '../features/audit/audit.ts'
import { breakersControl } from '../features/breakers/breakers.control.ts'
import { configsControl } from '../features/configs/configs.control.ts'
import { type ActiveConfigs, activeDocument } from '../features/configs/configs.ts'
import { connectorsControl } from '../features/connectors/connectors.control.ts'
import { testConnectorControl } from '../features/connectors/test-connector.control.ts'
import { deadLettersControl } from '../features/dead-letters/dead-letters.control.ts'
import { eventsControl } from '../features/events/events.control.ts'
import { executeControl } from '../features/execute/execute.control.ts'
import { identitiesControl } from '../features/identities/identities.control.ts'
import { oauthControl } from '../features/identities/oauth.control.ts'
import { jobsControl } from '../features/jobs/jobs.control.ts'
import { policiesControl } from '../features/policies/policies.control.ts'
import { queuesControl } from '../features/queues/queues.control.ts'
import { secretsControl } from '../features/secrets/secrets.control.ts'
import { openSecretStores, secretNames } from '../features/secrets/secrets.ts'
import { webhookRoutesControl } from '../features/webhook-routes/webhook-routes.control.ts'
import { routeDeliveries } from '../features/webhook-routes/webhook-routes.ts'
import { webhooksControl } from '../features/webhooks/webhooks.control.ts'
import { isWebhookProvider } from '../features/webhooks/webhooks.ts'
import { workspacesControl } from '../features/workspaces/workspaces.control.ts'
import { NO_WORKSPACE } from '../features/workspaces/workspaces.ts'
import type { Db } from '../platform/db/db.ts'
import type { Dial } from '../platform/dial/dial.ts'
import type { HttpServer } from '../platform/http/server.ts'
import type { Platform } from '../platform/platform.ts'
import { jobStates } from '../queue/read.ts'
import type { WakeUp } from '../queue/wake-up.ts'
import { openSecrets } from './outbound.ts'
import type { PlaneAccess } from './plane.ts'
import { usersOfSecret } from './secret-users.ts'
import { statusControl } from './status.ts'

/** What the control process holds for its routes, whatever listener they stand on. */
export interface ControlParts {
  readonly config: Config
  readonly platform: Platform
  /** For what a caller asks for its own workspace. */
  readonly requestDb: Db
  readonly access: PlaneAccess
  readonly activeConfigs: ActiveConfigs
  readonly wakeUp: WakeUp
  /** What the audit log is held against. */
  readonly evidence: Evidence
  /** Calls nobody but the upstreams of connectors that somebody tests. */
  readonly dial: Dial
}

export function addControlRoutes(app: HttpServer, parts: ControlParts): void {
  const { config, platform, access, activeConfigs, wakeUp, dial } = parts
  const { clock } = platform
  // Routes see the workspace of their caller. What looks over all of them (and what no caller has asked for: caches,
  // timers, batches) has the other one and says why.
  const { requestDb: db } = parts
  const everyWorkspace = platform.db
  const { directory } = access
  const configDeps = { db, secretNames, deliveries: routeDeliveries, refusal: dial.refusal }
  statusControl(app, config)
  workspacesControl(app, { db: everyWorkspace, environment: config.environment })
  identitiesControl(app, { db })
  // Nobody has said yet who calls.
  oauthControl(app, { ...access, db: everyWorkspace, clock, lifetimeSeconds: config.tokenTtlSeconds })
  configsControl(app, configDeps)
  policiesControl(app, configDeps)
  connectorsControl(app, configDeps)
  const resolveSecret = openSecrets(config, platform, directory)
  testConnectorControl(app, { ...configDeps, clock, dial, resolveSecret })
  secretsControl(app, {
    db,
    directory,
    readRef: openSecretStores({ variables: config.secretVariables, folder: config.secretsDir }),
    usersOfSecret,
  })
  webhookRoutesControl(app, {
    db,
    checks: {
      isProvider: isWebhookProvider,
      connectorKind: async (on, tenantId, name) =>
        (await activeDocument(on, tenantId)).connectors[name]?.kind,
      secretNames,
      workspaces: directory,
    },
  })
  webhooksControl(app, { db, jobStates: (tenantId, ids) => jobStates(db, tenantId, ids) })
  jobsControl(app, { db, clock, activeConfigs, wakeUp })
  deadLettersControl(app, { db })
  executeControl(app, { db })
  queuesControl(app, { db, wakeUp })
  breakersControl(app, { db, wakeUp })
  eventsControl(app, { ...platform, requestDb: db }, access.reasonToStop)
  auditControl(app, {
    db,
    evidence: parts.evidence,
    hub: {
      db: everyWorkspace,
      tenantId: NO_WORKSPACE,
      slugOf: async (tenantId) => (await directory.find(tenantId))?.slug,
    },
  })
}
