/** The control process: everything operators and automation may see and change. Needs Postgres only. Wiring only. */
import { createActiveConfigs } from '../features/configs/configs.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import { openAuditProof } from './audit.ts'
import { addControlRoutes } from './control-routes.ts'
import { openDial } from './outbound.ts'
import { openPlaneAccess } from './plane.ts'
import { openRequestDb } from './request-db.ts'
import {
  type BuiltProcess,
  createPlatform,
  createProcessServer,
  databaseCheck,
  type Environment,
} from './runtime.ts'
import { VERSION } from './version.ts'

export async function buildControl(environment: Environment): Promise<BuiltProcess> {
  const { config } = environment
  const platform = createPlatform('control', environment)
  const access = await openPlaneAccess(config, 'control', platform)
  const requestDb = openRequestDb('control', environment, platform)
  const activeConfigs = createActiveConfigs(platform)
  const wakeUp = environment.wakeUp ?? createWakeUp(platform)
  // Calls nobody but the upstreams of connectors that somebody tests.
  const dial = openDial(config, platform)
  const audit = await openAuditProof(environment, platform)

  const app = await createProcessServer(environment, platform, {
    checks: [databaseCheck(platform.db)],
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
  addControlRoutes(app, { config, platform, requestDb, access, activeConfigs, wakeUp, dial, evidence: audit.evidence })

  return {
    name: 'control',
    app,
    begin: async () => audit.checkpoints.start(),
    stopSteps: [
      ['checkpoints', () => audit.checkpoints.stop()],
      ['wake-up', () => (environment.wakeUp ? undefined : wakeUp.close())],
      ['connections', () => dial.close()],
      ['memory', () => [activeConfigs.close(), access.close(), audit.close()]],
      ['requests', () => requestDb.close()],
      ['platform', () => platform.close()],
    ],
  }
}
