/**
 * All routes of the control plane. They stand on more than one listener: the ordinary one, and that of emergencies,
 * each with callers of its own. Wiring only.
 */

import type { Config } from '../config.ts'
import { auditControl } from '../features/audit/audit.control.ts'
import type { Evidence } from '../features/audit/audit.ts'
import { breakGlassControl, emergencyControl } from '../features/break-glass/break-glass.control.ts'
import { breakersControl } from '../features/breakers/breakers.control.ts'
import { bundlesControl } from '../features/bundles/bundles.control.ts'
import { secretPlaces } from '../features/bundles/bundles.ts'
import { configsControl } from '../features/configs/configs.control.ts'
import { type ActiveConfigs, activeDocument, firstConfig } from '../features/configs/configs.ts'
import { configDryRunsControl } from '../features/configs/dry-runs.control.ts'
import { connectorsControl } from '../features/connectors/connectors.control.ts'
import { testConnectorControl } from '../features/connectors/test-connector.control.ts'
import { deadLettersControl } from '../features/dead-letters/dead-letters.control.ts'
import { eventsControl } from '../features/events/events.control.ts'
import { executeControl } from '../features/execute/execute.control.ts'
import { executionsSince } from '../features/execute/execute.ts'
import { identitiesControl } from '../features/identities/identities.control.ts'
import { oauthControl } from '../features/identities/oauth.control.ts'
import { impersonationControl } from '../features/impersonation/impersonation.control.ts'
import { jobsControl } from '../features/jobs/jobs.control.ts'
import { onboardingControl } from '../features/onboarding/onboarding.control.ts'
import type { Verifications } from '../features/onboarding/onboarding.ts'
import { membersControl } from '../features/operators/members.control.ts'
import { operatorsControl } from '../features/operators/operators.control.ts'
import type { OperatorDeps } from '../features/operators/operators.ts'
import { payloadsControl } from '../features/payloads/payloads.control.ts'
import type { Payloads } from '../features/payloads/payloads.ts'
import { policiesControl } from '../features/policies/policies.control.ts'
import { quarantineControl } from '../features/quarantine/quarantine.control.ts'
import { queuesControl } from '../features/queues/queues.control.ts'
import { retentionControl } from '../features/retention/retention.control.ts'
import { secretsControl } from '../features/secrets/secrets.control.ts'
import { secretNames } from '../features/secrets/secrets.ts'
import { storedSecretsControl } from '../features/secrets/stored-secrets.control.ts'
import { trustedIssuersControl } from '../features/trusted-issuers/trusted-issuers.control.ts'
import { webhookGapsControl } from '../features/webhook-gaps/webhook-gaps.control.ts'
import { gapCheckFaults } from '../features/webhook-gaps/webhook-gaps.ts'
import { webhookInboxControl } from '../features/webhook-inbox/webhook-inbox.control.ts'
import { webhookRoutesControl } from '../features/webhook-routes/webhook-routes.control.ts'
import {
  type RouteChecks,
  type RouteDirectory,
  routeDeliveries,
} from '../features/webhook-routes/webhook-routes.ts'
import {
  type AcceptEvents,
  createWebhookMatcher,
  findPlainRoutes,
  heldOf,
  providerFaults,
} from '../features/webhooks/webhooks.ts'
import { workspacesControl } from '../features/workspaces/workspaces.control.ts'
import { NO_WORKSPACE } from '../features/workspaces/workspaces.ts'
import type { Db } from '../platform/db/db.ts'
import type { Dial } from '../platform/dial/dial.ts'
import type { HttpServer } from '../platform/http/server.ts'
import type { Platform } from '../platform/platform.ts'
import { jobAttemptsSince } from '../queue/lane-loads.ts'
import type { WakeUp } from '../queue/wake-up.ts'
import { deliveryTargets } from './delivery-targets.ts'
import { openJobInputs } from './job-input.ts'
import { peopleOf } from './operators.ts'
import { fetchOver, type ProcessSecrets } from './outbound.ts'
import type { PlaneAccess } from './plane.ts'
import { createSecretChecks } from './secret-checks.ts'
import { usersOfSecret } from './secret-users.ts'
import { statusControl } from './status.ts'
import { workspaceExport } from './workspace-export.ts'

/** What the control process holds for its routes, whatever listener they stand on. */
export interface ControlParts {
  readonly config: Config
  readonly platform: Platform
  /** For what a caller asks for its own workspace. */
  readonly requestDb: Db
  readonly access: PlaneAccess
  /** People and how they sign on. */
  readonly operators: OperatorDeps
  readonly activeConfigs: ActiveConfigs
  readonly wakeUp: WakeUp
  /** What the audit log is held against. */
  readonly evidence: Evidence
  readonly verifications: Verifications
  /** Calls nobody but the upstreams of connectors that somebody tests. */
  readonly dial: Dial
  readonly secrets: ProcessSecrets
  readonly webhookRoutes: RouteDirectory
  /** For what is released from quarantine. */
  readonly acceptEvents: AcceptEvents
  /** Large bodies. */
  readonly payloads: Payloads
}

export function addControlRoutes(app: HttpServer, parts: ControlParts): void {
  const { config, platform, access, activeConfigs, wakeUp, dial } = parts
  const { clock } = platform
  // Routes see the workspace of their caller. What looks over all of them (and what no caller has asked for: caches,
  // timers, batches) has the other one and says why.
  const { requestDb: db } = parts
  const everyWorkspace = platform.db
  const { directory } = access
  const { resolve: resolveSecret, readRef, envelope } = parts.secrets
  const secretChecks = createSecretChecks({ db, directory, readRef, clock })
  const inWorkspace = {
    ...{ secretNames, deliveries: routeDeliveries, refusal: dial.refusal },
    // Half of what a body may have: the other half is for what else is in a bundle.
    maxBytes: Math.floor(config.apiBodyLimitBytes / 2),
  }
  const configDeps = { ...inWorkspace, db, unresolved: secretChecks.ofNames }
  statusControl(app, config)
  onboardingControl(app, {
    verifications: parts.verifications,
    directory,
    environment: config.environment,
    targetUrl: config.verifyTargetUrl,
  })
  identitiesControl(app, { db })
  trustedIssuersControl(app, {
    db,
    rules: {
      ownIssuer: config.tokenIssuer,
      allowHttp: config.environment === 'dev',
      refusal: dial.refusal,
    },
  })
  // Nobody has said yet who calls.
  oauthControl(app, { ...access, db: everyWorkspace, clock, lifetimeSeconds: config.tokenTtlSeconds })
  configsControl(app, configDeps)
  configDryRunsControl(app, { ...configDeps, clock, executions: executionsSince, attempts: jobAttemptsSince })
  policiesControl(app, configDeps)
  connectorsControl(app, configDeps)
  testConnectorControl(app, { ...configDeps, clock, dial, resolveSecret })
  secretsControl(app, { db, clock, directory, readRef, usersOfSecret })
  storedSecretsControl(app, { db, clock, envelope })
  const routeChecks: RouteChecks = {
    providerFaults,
    gapFaults: gapCheckFaults,
    connectorKind: async (on, tenantId, name) => (await activeDocument(on, tenantId)).connectors[name]?.kind,
    secretNames,
    workspaces: directory,
  }
  webhookRoutesControl(app, {
    db,
    // Bundles change routes and secrets in one transaction, in which no store is asked.
    checks: { ...routeChecks, fingerprintsOf: secretChecks.fingerprints },
    plainRoutes: findPlainRoutes(parts.webhookRoutes),
    heldOf,
  })
  const bundleDeps = {
    clock,
    config: inWorkspace,
    secrets: secretPlaces({ usersOfSecret, unresolved: secretChecks.ofRefs }),
    routeChecks,
    workspaces: directory,
    ingressUrls: [config.urls.ingress, `http://localhost:${config.ports.ingress}`],
  }
  bundlesControl(app, { ...bundleDeps, db })
  const ofHub = { db: everyWorkspace, environment: config.environment }
  workspacesControl(app, {
    ...ofHub,
    firstConfig,
    exportLines: workspaceExport({ ...ofHub, bundles: { ...bundleDeps, db: everyWorkspace } }),
  })
  retentionControl(app, { db: everyWorkspace, workspaces: ofHub, hub: config.keepDays })
  quarantineControl(app, {
    ...{ db, hubDb: everyWorkspace, clock, workspaces: directory },
    ...{ routes: parts.webhookRoutes, acceptEvents: parts.acceptEvents },
    match: createWebhookMatcher({
      ...{ routes: parts.webhookRoutes, workspaces: directory, resolveSecret, clock, log: platform.log },
      livemode: config.environment === 'prod',
      tools: { fetch: fetchOver(dial) },
    }).match,
  })
  webhookInboxControl(app, {
    ...{ db, wakeUp, readPayload: parts.payloads.read, workspaces: directory },
    target: deliveryTargets(activeConfigs),
    configVersion: async (tenantId) => (await activeConfigs.get(tenantId)).version,
  })
  webhookGapsControl(app, { db })
  const readInput = openJobInputs({ db, payloads: parts.payloads, together: false })
  payloadsControl(app, { ...access, db, clock, payloads: parts.payloads })
  jobsControl(app, { db, clock, activeConfigs, wakeUp, readInput })
  deadLettersControl(app, { db })
  executeControl(app, { db })
  queuesControl(app, { db, wakeUp })
  breakersControl(app, { db, wakeUp })
  // People belong to no workspace; each statement about members names that of the caller.
  membersControl(app, { db: everyWorkspace, clock })
  operatorsControl(app, { db: everyWorkspace, clock, directory })
  impersonationControl(app, { ...access, db: everyWorkspace, clock, people: peopleOf(clock) })
  breakGlassControl(app, { db: everyWorkspace })
  eventsControl(app, { ...platform, requestDb: db }, access.reasonToStop)
  auditControl(app, {
    db,
    evidence: parts.evidence,
    reasonToStop: access.reasonToStop,
    hub: {
      db: everyWorkspace,
      tenantId: NO_WORKSPACE,
      slugOf: async (tenantId) => (await directory.find(tenantId))?.slug,
    },
  })
}

/** What only the listener of emergencies has besides. */
export const addEmergencyRoutes = emergencyControl
