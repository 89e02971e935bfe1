/** The control process: everything operators and automation may see and change. Needs Postgres only. Wiring only. */
import { createActiveConfigs } from '../features/configs/configs.ts'
import {
  withImpersonationHeaders,
  withoutImpersonationHeaders,
} from '../features/impersonation/impersonation.ts'
import { verifySession } from '../features/operators/operators.ts'
import { ownAccountControl } from '../features/operators/own-account.control.ts'
import { secondFactorControl } from '../features/operators/second-factor.control.ts'
import { signOnControl } from '../features/operators/sign-on.control.ts'
import { createRouteDirectory } from '../features/webhook-routes/webhook-routes.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import { openAuditProof } from './audit.ts'
import { buildBreakGlass } from './break-glass.ts'
import { addControlRoutes, type ControlParts } from './control-routes.ts'
import { openEventIntake } from './event-intake.ts'
import { openIdentityProvider } from './identity-provider.ts'
import { findMember, openOperators } from './operators.ts'
import { openDial, openSecrets } from './outbound.ts'
import { createEmergencyCare } from './overdue-emergencies.ts'
import { openPayloads } from './payloads.ts'
import { openPlaneAccess } from './plane.ts'
import { openRequestDb } from './request-db.ts'
import { createRewrapCare } from './rewrap.ts'
import {
  type BuiltProcess,
  createPlatform,
  createProcessServer,
  databaseCheck,
  type Environment,
} from './runtime.ts'
import { openVerifications } from './verifications.ts'
import { VERSION } from './version.ts'

export async function buildControl(environment: Environment): Promise<BuiltProcess> {
  const { config } = environment
  const platform = createPlatform('control', environment)
  // Calls nobody but the upstreams of connectors that somebody tests, and issuers that a workspace trusts.
  const dial = openDial(config, platform)
  const access = await openPlaneAccess(config, 'control', platform, {
    dial,
    verifySession: (token) => verifySession(platform, token),
  })
  const requestDb = openRequestDb('control', environment, platform)
  const activeConfigs = createActiveConfigs(platform)
  const wakeUp = environment.wakeUp ?? createWakeUp(platform)
  const secrets = openSecrets(config, platform, access.directory)
  const kept = openPayloads(config, platform, secrets.envelope, requestDb)
  const routes = createRouteDirectory(platform)
  const intake = openEventIntake(platform, {
    ...{ workspaces: access.directory, activeConfigs, wakeUp },
    payloads: kept.payloads,
  })
  const audit = await openAuditProof(environment, platform)
  const operators = openOperators(platform, secrets.envelope)
  const rewrapCare = createRewrapCare({ ...platform, envelope: secrets.envelope })
  const emergencyCare = createEmergencyCare({ ...platform, environment: config.environment })
  // The header would be an ordinary call's; so it is refused where it is not allowed.
  const authenticate = config.impersonationHeaders
    ? withImpersonationHeaders(access.authenticate, {
        db: platform.db,
        findMember: findMember(platform.clock),
      })
    : withoutImpersonationHeaders(access.authenticate)

  const app = await createProcessServer(environment, platform, {
    checks: [databaseCheck(platform.db), secrets.check, kept.check],
    access: { ...access, authenticate },
    tls: config.tls,
    openApi: {
      title: 'Orchestrator: control plane',
      description:
        'What operators and automation call. Tokens of this plane have the audience `orchestrator-control`.',
      version: VERSION,
      tags: [
        'workspaces',
        'retention',
        'onboarding',
        'configs',
        'policies',
        'connectors',
        'secret refs',
        'webhook routes',
        'bundles',
        'webhook inbox',
        'webhook gaps',
        'quarantine',
        'executions',
        'jobs',
        'payloads',
        'queues',
        'breakers',
        'dead letters',
        'events',
        'identities',
        'tokens',
        'audit',
        'sign-on',
        'own account',
        'members',
        'operators',
        'impersonation',
        'break-glass',
      ],
    },
  })
  const verifications = openVerifications(config, platform, { dial, secrets })
  const parts: ControlParts = {
    config,
    verifications,
    platform,
    requestDb,
    access,
    operators,
    activeConfigs,
    wakeUp,
    dial,
    secrets,
    payloads: kept.payloads,
    webhookRoutes: routes,
    acceptEvents: intake.acceptEvents,
    evidence: audit.evidence,
  }
  addControlRoutes(app, parts)
  // Not on the listener of emergencies: who comes there proves who they are in another way.
  const signOn = { ...access, ...operators, provider: openIdentityProvider(config, platform, dial) }
  signOnControl(app, signOn)
  ownAccountControl(app, signOn)
  secondFactorControl(app, signOn)
  const breakGlass = await buildBreakGlass(environment, parts)

  return {
    name: 'control',
    app,
    listeners: breakGlass ? [breakGlass] : [],
    begin: async () => {
      audit.checkpoints.start()
      rewrapCare.start()
      verifications.startSweeping()
      emergencyCare.start()
    },
    stopSteps: [
      ['verifications', () => verifications.close()],
      ['checkpoints', () => audit.checkpoints.stop()],
      ['released webhooks', () => intake.close()],
      ['wake-up', () => (environment.wakeUp ? undefined : wakeUp.close())],
      ['sign-on', () => operators.limits.close()],
      ['rewrapping', () => rewrapCare.stop()],
      ['emergencies', () => emergencyCare.stop()],
      ['payload store', () => kept.close()],
      ['secrets', () => secrets.close()],
      ['connections', () => dial.close()],
      ['memory', () => [activeConfigs.close(), routes.close(), access.close(), audit.close()]],
      ['requests', () => requestDb.close()],
      ['platform', () => platform.close()],
    ],
  }
}
