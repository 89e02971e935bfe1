/** The exec process: `/execute`, `/jobs`, `/events` and `/oauth/token` for products. Wiring only. */
import { createActiveConfigs } from '../features/configs/configs.ts'
import { eventsExec } from '../features/events/events.exec.ts'
import { executeExec } from '../features/execute/execute.exec.ts'
import { admit, createGuardMetrics } from '../features/guards/guards.ts'
import { oauthExec } from '../features/identities/oauth.exec.ts'
import { withoutImpersonationHeaders } from '../features/impersonation/impersonation.ts'
import { jobsExec } from '../features/jobs/jobs.exec.ts'
import { payloadsExec } from '../features/payloads/payloads.exec.ts'
import { createBacklog } from '../features/workspaces/workspaces.ts'
import { armFailPoints } from '../platform/fail-points.ts'
import { createEnqueuer } from '../queue/enqueuer.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import type { Work } from '../resilience/load-shed.ts'
import { openExecutor } from './executor.ts'
import { openGuards } from './guards.ts'
import { openJobInputs } from './job-input.ts'
import { openDial, openSecrets } from './outbound.ts'
import { openPayloads } from './payloads.ts'
import { openPlaneAccess } from './plane.ts'
import { openRequestDb } from './request-db.ts'
import {
  type BuiltProcess,
  createPlatform,
  createProcessServer,
  databaseCheck,
  type Environment,
  takeSharedStore,
} from './runtime.ts'
import { VERSION } from './version.ts'

export async function buildExec(environment: Environment): Promise<BuiltProcess> {
  const { config } = environment
  armFailPoints(config.failPoints)
  const platform = createPlatform('exec', environment)
  const { db, clock, metrics } = platform
  const requestDb = openRequestDb('exec', environment, platform)
  const dial = openDial(config, platform)
  const access = await openPlaneAccess(config, 'exec', platform, { dial })
  const activeConfigs = createActiveConfigs(platform)
  const secrets = openSecrets(config, platform, access.directory)
  const kept = openPayloads(config, platform, secrets.envelope, requestDb)
  const wakeUp = environment.wakeUp ?? createWakeUp(platform)
  const sharedStore = takeSharedStore(environment, metrics)
  const nodeGuards = environment.guards ?? openGuards(platform, sharedStore.store)
  const { guards } = nodeGuards
  nodeGuards.exposeOn(metrics)
  const guardMetrics = createGuardMetrics(metrics)
  const enqueuer = createEnqueuer(db, { wakeUp })
  const { payloads } = kept
  const calls = { payloads, activeConfigs, dial, resolveSecret: secrets.resolve, guards, guardMetrics }
  const { executor, keys, requestLog } = openExecutor(platform, calls)

  const app = await createProcessServer(environment, platform, {
    checks: [databaseCheck(db), secrets.check, kept.check, ...sharedStore.checks],
    // Nobody acts as somebody else here.
    access: { ...access, authenticate: withoutImpersonationHeaders(access.authenticate) },
    tls: config.tls,
    admit: (work) => admit(guards.loadShed, work as Work),
    openApi: {
      title: 'Orchestrator: exec plane',
      description: 'What products call. Tokens of this plane have the audience `orchestrator-exec`.',
      version: VERSION,
      tags: ['execute', 'jobs', 'events', 'tokens'],
    },
  })
  executeExec(app, executor)
  jobsExec(app, {
    payloads: kept.payloads,
    db: requestDb,
    clock,
    activeConfigs,
    enqueuer,
    wakeUp,
    loadShed: guards.loadShed,
    // Counted from memory for every caller: not on the connections of one request.
    backlog: createBacklog(platform),
    wouldHave: guardMetrics.wouldHave,
    readInput: openJobInputs({ db: requestDb, payloads: kept.payloads, together: false }),
  })
  payloadsExec(app, kept)
  eventsExec(app, { ...platform, requestDb }, access.reasonToStop)
  oauthExec(app, { ...access, db, clock, lifetimeSeconds: config.tokenTtlSeconds })

  return {
    name: 'exec',
    app,
    stopSteps: [
      ['executions', () => executor.stop()],
      ['idempotency keys', () => keys.close()],
      ['enqueuer', () => enqueuer.close()],
      ['request log', () => requestLog.close()],
      ['wake-up', () => (environment.wakeUp ? undefined : wakeUp.close())],
      ['guards', () => (environment.guards ? undefined : nodeGuards.close())],
      ['payload store', () => kept.close()],
      ['secrets', () => secrets.close()],
      ['connections', () => dial.close()],
      ['memory', () => [activeConfigs.close(), access.close()]],
      ['requests', () => requestDb.close()],
      ['platform', () => platform.close()],
    ],
  }
}
