/** The worker process: claims and runs jobs, promotes, rescues, keeps partitions ahead, drops old ones. Wiring only. */
import { createActiveConfigs } from '../features/configs/configs.ts'
import { createDeadLetterWork } from '../features/dead-letters/dead-letters.worker.ts'
import { createExecutionCare } from '../features/execute/execute.worker.ts'
import { createGuardMetrics } from '../features/guards/guards.ts'
import { createFollowUps } from '../features/jobs/jobs.ts'
import { createJobHandler } from '../features/jobs/jobs.worker.ts'
import { createPayloadWork } from '../features/payloads/payloads.worker.ts'
import { eraseQuarantined } from '../features/quarantine/quarantine.ts'
import { createQuarantineCare } from '../features/quarantine/quarantine.worker.ts'
import { createRetentionWork } from '../features/retention/retention.worker.ts'
import { createGapWork } from '../features/webhook-gaps/webhook-gaps.worker.ts'
import { createInboxWork } from '../features/webhook-inbox/webhook-inbox.worker.ts'
import { createRouteDirectory } from '../features/webhook-routes/webhook-routes.ts'
import { createDeliveryGate, createEventAcceptor, createIntake } from '../features/webhooks/webhooks.ts'
import { createHeldCare, createInboxCare } from '../features/webhooks/webhooks.worker.ts'
import { createWorkspaceCare } from '../features/workspaces/workspaces.worker.ts'
import { createDb } from '../platform/db/db.ts'
import { armFailPoints } from '../platform/fail-points.ts'
import { createRunner, QUEUE_CONNECTIONS, QUEUE_SESSION } from '../queue/queue.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import { deliveryTargets, knownDeliveryTargets } from './delivery-targets.ts'
import { openExecutor } from './executor.ts'
import { openGuards } from './guards.ts'
import { openJobInputs } from './job-input.ts'
import { openDial, openSecrets } from './outbound.ts'
import { openPayloads } from './payloads.ts'
import { createDirectory } from './plane.ts'
import {
  type BuiltProcess,
  createPlatform,
  createProcessServer,
  databaseCheck,
  type Environment,
  takeSharedStore,
} from './runtime.ts'

export async function buildWorker(environment: Environment): Promise<BuiltProcess> {
  const { config, databaseUrl } = environment
  armFailPoints(config.failPoints)
  const platform = createPlatform('worker', environment)
  const { log, metrics } = platform
  const claimDb = createDb({
    url: databaseUrl,
    applicationName: 'orchestrator worker queue',
    poolSize: QUEUE_CONNECTIONS,
    slowQueryMs: config.slowQueryMs,
    log,
    metrics,
    session: QUEUE_SESSION,
  })
  const directory = createDirectory(config, platform)
  const activeConfigs = createActiveConfigs(platform)
  const dial = openDial(config, platform)
  const secrets = openSecrets(config, platform, directory)
  const kept = openPayloads(config, platform, secrets.envelope)
  const wakeUp = environment.wakeUp ?? createWakeUp(platform)
  const sharedStore = takeSharedStore(environment, metrics)
  const nodeGuards = environment.guards ?? openGuards(platform, sharedStore.store)
  const { guards } = nodeGuards
  nodeGuards.exposeOn(metrics)
  const guardMetrics = createGuardMetrics(metrics)
  const { payloads } = kept
  const calls = { payloads, activeConfigs, dial, resolveSecret: secrets.resolve, guards, guardMetrics }
  const routes = createRouteDirectory(platform)
  const runner = createRunner({
    platform,
    claimDb,
    wakeUp,
    concurrency: config.workerConcurrency,
    handler: createJobHandler({
      ...{ ...calls, platform, directory },
      readInput: openJobInputs({ db: platform.db, payloads: kept.payloads, together: true }),
      payloads: kept.payloads,
      gate: createDeliveryGate({ platform, routes }),
    }),
    followUps: createFollowUps({ activeConfigs, clock: platform.clock }),
  })

  const deadLetterWork = createDeadLetterWork({
    platform,
    activeConfigs,
    wakeUp,
    keepDays: config.keepDays.dead_letters,
    binDays: config.deadLetterBinDays,
  })
  const retention = createRetentionWork(platform, config.keepDays)
  const payloadCare = createPayloadWork(platform, kept.stores)
  const inboxCare = createInboxCare(platform)
  const inboxWork = createInboxWork({
    ...{ platform, wakeUp, target: deliveryTargets(activeConfigs) },
    ...{ readPayload: kept.payloads.read, erasePayloads: kept.payloads.erase, eraseQuarantined },
  })
  const heldCare = createHeldCare({
    ...{ platform, wakeUp, workspaces: directory },
    activeConnector: knownDeliveryTargets(activeConfigs),
  })
  const workspaceCare = createWorkspaceCare(platform, config.environment)
  const { executor, keys, requestLog } = openExecutor(platform, calls)
  const executionCare = createExecutionCare({ platform, directory, executor, keys })
  const intake = createIntake({ db: platform.db, wakeUp, payloads: kept.payloads })
  const acceptEvents = createEventAcceptor({
    ...{ platform, intake, workspaces: directory },
    activeConnector: deliveryTargets(activeConfigs),
  })
  const gapWork = createGapWork({ platform, executor, routes, workspaces: directory, acceptEvents })
  const quarantineCare = createQuarantineCare(platform, { routes, acceptEvents })

  const app = await createProcessServer(environment, platform, {
    checks: [
      databaseCheck(platform.db),
      { name: 'queue', check: () => databaseCheck(claimDb).check() },
      secrets.check,
      kept.check,
      ...sharedStore.checks,
    ],
  })

  return {
    name: 'worker',
    app,
    begin: async () => {
      await runner.start()
      inboxCare.start()
      inboxWork.start()
      quarantineCare.start()
      payloadCare.start()
      heldCare.start()
      workspaceCare.start()
      deadLetterWork.start()
      retention.start()
      executionCare.start()
      gapWork.start()
    },
    stopSteps: [
      ['missing webhooks', () => gapWork.stop()],
      ['quarantine', () => quarantineCare.stop()],
      ['pulled webhooks', () => intake.close()],
      ['unknown executions', () => executionCare.stop()],
      ['idempotency keys', () => keys.close()],
      ['request log', () => requestLog.close()],
      ['retention', () => retention.stop()],
      ['inbox care', () => inboxCare.stop()],
      ['inbox plans', () => inboxWork.stop()],
      ['payloads', () => payloadCare.stop()],
      ['held webhooks', () => heldCare.stop()],
      ['deleted workspaces', () => workspaceCare.stop()],
      ['dead letters', () => deadLetterWork.stop()],
      ['running jobs', () => runner.stop(config.stopGraceMs)],
      ['wake-up', () => (environment.wakeUp ? undefined : wakeUp.close())],
      ['guards', () => (environment.guards ? undefined : nodeGuards.close())],
      ['payload store', () => kept.close()],
      ['secrets', () => secrets.close()],
      ['connections', () => dial.close()],
      ['memory', () => [activeConfigs.close(), routes.close(), directory.close()]],
      ['queue connections', () => claimDb.close()],
      ['platform', () => platform.close()],
    ],
  }
}
