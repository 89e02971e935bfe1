/** The control process: everything operators and automation may see and change. Needs Postgres only. Wiring only. */
import { auditControl } from '../features/audit/audit.control.ts'
import { breakersControl } from '../features/breakers/breakers.control.ts'
import { configsControl } from '../features/configs/configs.control.ts'
import { activeDocument, createActiveConfigs } from '../features/configs/configs.ts'
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
import { jobStates } from '../queue/read.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import { openDial, openSecrets } from './outbound.ts'
import { openPlaneAccess } from './plane.ts'
import {
  type BuiltProcess,
  createPlatform,
  createProcessServer,
  databaseCheck,
  type Environment,
} from './runtime.ts'
import { usersOfSecret } from './secret-users.ts'
import { statusControl } from './status.ts'
import { VERSION } from './version.ts'

export async function buildControl(environment: Environment): Promise<BuiltProcess> {
  const { config } = environment
  const platform = createPlatform('control', environment)
  const { db, clock } = platform
  const access = await openPlaneAccess(config, 'control', platform)
  const { directory } = access
  const activeConfigs = createActiveConfigs(platform)
  const wakeUp = environment.wakeUp ?? createWakeUp(platform)
  // Calls nobody but the upstreams of connectors that somebody tests.
  const dial = openDial(config, platform)

  const app = await createProcessServer(environment, platform, {
    checks: [databaseCheck(db)],
    access,
    openApi: {
      title: 'Orchestrator: control plane',
      description:
        'What operators and automation call. Tokens of this plane have the audience `orchestrator-control`.',
      version: VERSION,
      tags: [
        'workspaces',
        'configs',
        'policies',
        'connectors',
        'secret refs',
        'webhook routes',
        'webhook inbox',
        'executions',
        'jobs',
        'queues',
        'breakers',
        'dead letters',
        'events',
        'identities',
        'tokens',
        'audit',
      ],
    },
  })
  const configDeps = { db, secretNames, deliveries: routeDeliveries, refusal: dial.refusal }
  statusControl(app, config)
  workspacesControl(app, { db, environment: config.environment })
  identitiesControl(app, { db })
  oauthControl(app, { ...access, db, clock, lifetimeSeconds: config.tokenTtlSeconds })
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
  eventsControl(app, platform, directory)
  auditControl(app, { db })

  return {
    name: 'control',
    app,
    stopSteps: [
      ['wake-up', () => (environment.wakeUp ? undefined : wakeUp.close())],
      ['connections', () => dial.close()],
      ['memory', () => [activeConfigs.close(), access.close()]],
      ['platform', () => platform.close()],
    ],
  }
}
