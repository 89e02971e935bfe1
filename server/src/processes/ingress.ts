/** The ingress process: `/webhooks/:provider`. Needs Postgres only. Wiring only. */
import { createActiveConfigs } from '../features/configs/configs.ts'
import { admit } from '../features/guards/guards.ts'
import { createKeeper } from '../features/quarantine/quarantine.ts'
import { createRouteDirectory } from '../features/webhook-routes/webhook-routes.ts'
import { webhooksIngress } from '../features/webhooks/webhooks.ingress.ts'
import { createWebhookAcceptor } from '../features/webhooks/webhooks.ts'
import { armFailPoints } from '../platform/fail-points.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import type { Work } from '../resilience/load-shed.ts'
import { openEventIntake } from './event-intake.ts'
import { openLoadShed } from './guards.ts'
import { fetchOver, openDial, openSecrets } from './outbound.ts'
import { openPayloads } from './payloads.ts'
import { createDirectory } from './plane.ts'
import {
  type BuiltProcess,
  createPlatform,
  createProcessServer,
  databaseCheck,
  type Environment,
} from './runtime.ts'
import { VERSION } from './version.ts'

export async function buildIngress(environment: Environment): Promise<BuiltProcess> {
  const { config } = environment
  armFailPoints(config.failPoints)
  const platform = createPlatform('ingress', environment)
  const workspaces = createDirectory(config, platform)
  const activeConfigs = createActiveConfigs(platform)
  const routes = createRouteDirectory(platform)
  const secrets = openSecrets(config, platform, workspaces)
  const dial = openDial(config, platform)
  const kept = openPayloads(config, platform, secrets.envelope)
  const wakeUp = environment.wakeUp ?? createWakeUp(platform)
  const own = environment.guards ? undefined : openLoadShed(platform)
  own?.exposeOn(platform.metrics)
  const loadShed = environment.guards?.guards.loadShed ?? own?.loadShed

  const app = await createProcessServer(environment, platform, {
    checks: [databaseCheck(platform.db), secrets.check, kept.check],
    ...(loadShed && { admit: (work: string) => admit(loadShed, work as Work) }),
    openApi: {
      title: 'Orchestrator: webhook ingress',
      description: 'What webhook providers call. Authentication is the signature of the provider.',
      version: VERSION,
      tags: ['webhooks'],
    },
  })
  const intake = openEventIntake(platform, { workspaces, activeConfigs, wakeUp, payloads: kept.payloads })
  const keeper = createKeeper(platform, config.quarantine)
  const accept = createWebhookAcceptor({
    platform,
    routes,
    workspaces,
    acceptEvents: intake.acceptEvents,
    resolveSecret: secrets.resolve,
    livemode: config.environment === 'prod',
    tools: { fetch: fetchOver(dial) },
    quarantine: keeper.keep,
  })
  webhooksIngress(app, {
    accept,
    bodyLimitBytes: config.webhookBodyLimitBytes,
    publicUrl: config.ingressPublicUrl,
  })

  return {
    name: 'ingress',
    app,
    stopSteps: [
      ['accepted webhooks', () => intake.close()],
      ['refused webhooks', () => keeper.settled()],
      ['wake-up', () => (environment.wakeUp ? undefined : wakeUp.close())],
      ['load shedding', () => own?.close()],
      ['payload store', () => kept.close()],
      ['secrets', () => secrets.close()],
      ['connections', () => dial.close()],
      ['memory', () => [activeConfigs.close(), routes.close(), workspaces.close()]],
      ['platform', () => platform.close()],
    ],
  }
}
