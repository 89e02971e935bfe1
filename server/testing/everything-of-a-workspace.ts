import { insertSession, insertToken } from '../src/features/break-glass/break-glass.sql.ts'
import { newToken, sha256 } from '../src/features/break-glass/emergency-token.ts'
import { toOperator } from '../src/features/operators/account.ts'
import { insertOperator } from '../src/features/operators/accounts.sql.ts'
import { grantRole } from '../src/features/operators/roles.ts'
import { systemClock } from '../src/platform/clock.ts'
import { newId } from '../src/platform/ids.ts'
import { deadJob } from './dead-letters.ts'
import { unknownExecution } from './execution-keys.ts'
import { missingWebhook } from './missing-webhook.ts'
import type { QueueFixture } from './queue-fixture.ts'
import { CHANGE } from './tenant-access.ts'

/** Sends as a person and a machine with every right in the workspace; gives the body of an answer below 300. */
export type Send = (
  plane: 'control' | 'exec',
  method: 'PUT' | 'POST',
  url: string,
  payload: object,
  // biome-ignore lint/suspicious/noExplicitAny: answers of many kinds.
) => Promise<any>

/**
 * One of every kind of object that a workspace has, made as callers make them where the process at hand can, else as
 * rows. Gives the value for each path parameter, by the path up to it; every name that can be chosen holds `mark`.
 */
export async function everythingOf(
  tenantId: string,
  mark: string,
  { fixture, send }: { readonly fixture: QueueFixture; readonly send: Send },
): Promise<ReadonlyMap<string, string>> {
  const { db } = fixture
  const write = (text: string, values: readonly unknown[]) => db.execute({ name: '', text }, values)
  await send('control', 'PUT', `/policies/${mark}`, { policy: { timeouts: { total_ms: 5_000 } } })
  for (const value of [1, 2]) {
    const signing = `whsec_${Buffer.alloc(24, value).toString('base64')}`
    await send('control', 'PUT', `/secret-refs/${mark}/value`, { value: signing })
  }
  const operations = { get: { method: 'GET', path: '/' } }
  await send('control', 'PUT', `/connectors/${mark}`, {
    connector: { kind: 'http', policy: mark, settings: { base_url: 'https://example.com', operations } },
  })
  const { config_version: version } = await send('control', 'PUT', `/connectors/${mark}-callback`, {
    connector: {
      ...{ kind: 'callback', policy: mark, settings: { url: 'https://example.com/hook' } },
      secrets: { signing_secret: mark },
    },
  })
  const route = await send('control', 'POST', '/webhook-routes', {
    ...{ provider: 'stripe', livemode: false, connector: `${mark}-callback`, secret_refs: [mark] },
    gap_check: { connector: mark, pull: 'manual', every_seconds: 3_600, settings: {} },
  })
  const identity = await send('control', 'POST', '/identities', {
    ...{ name: `svc:${mark}`, scopes: ['orchestrator.execute'] },
  })
  const issuer = await send('control', 'POST', '/trusted-issuers', {
    ...{ name: mark, issuer: `https://${mark}.test/`, jwks_url: `https://${mark}.test/jwks.json` },
    scopes: ['orchestrator.execute'],
  })
  const job = await send('exec', 'POST', '/jobs', {
    ...{ connector: mark, operation: 'get', input: {} },
    run_at: new Date(Date.now() + 86_400_000).toISOString(),
  })
  // Its input is too large for the database.
  await send('exec', 'POST', '/jobs', {
    ...{ connector: mark, operation: 'get', input: { text: mark.repeat(10_000) } },
    run_at: new Date(Date.now() + 86_400_000).toISOString(),
  })
  const { rows: payloads } = await db.execute<{ id: string }>(
    { name: '', text: 'select id from payload where tenant_id = $1' },
    [tenantId],
  )
  const dead = await deadJob(fixture, { tenantId, connector: mark, operation: 'get', input: {} })
  const plan = await send('control', 'POST', '/dlq/default/plans', { action: 'replay', ids: [dead.id] })
  await send('control', 'POST', `/breakers/${mark}/force`, { state: 'open', for_ms: 3_600_000 })
  const invitation = await send('control', 'POST', '/invitations', {
    ...{ email: `${mark}-invited@example.com`, role: 'support' },
  })
  const member = await db.transaction(async (tx) => {
    const row = { id: newId(), email: `${mark}@example.com`, name: mark, passwordHash: null }
    const made = toOperator(await insertOperator(tx, row))
    const role = { workspaceId: tenantId, role: 'support' } as const
    await grantRole(tx, systemClock, made, role, { by: 'a test', change: CHANGE })
    return made
  })
  const [inboxId, quarantineId, impersonationId, runId] = [newId(), newId(), newId(), newId()]
  await write(
    `insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at, state,
       connector, secret_ref, size, request_id, correlation_id, trace_id)
     values ($1, $2, $3, 'stripe', false, $4, 'invoice.paid', now(), 'ignored', $4, $4, 2, 'r', 'c', $5)`,
    [tenantId, inboxId, route.id, mark, 'a'.repeat(32)],
  )
  await write(
    `insert into webhook_payload (tenant_id, id, body, sha256, headers) values ($1, $2, '{}', sha256('{}'), '{}')`,
    [tenantId, inboxId],
  )
  const retryPlan = await send('control', 'POST', '/webhook-inbox/retry/plans', { ids: [inboxId] })
  const erasePlan = await send('control', 'POST', '/webhook-inbox/erase/plans', { event_id: mark })
  await write(
    `insert into quarantine (tenant_id, id, because_of, provider, route_id, reason, authentic, sealed, accounts, events,
       body, sha256, size, copies, room, expires_at, request_id, correlation_id, trace_id)
     values ($1, $2, $1, 'stripe', $3, 'signature_mismatch', false, false, array[$4], $5, $6, sha256($6), 2, '[]', 2,
       now() + interval '7 days', 'r', 'c', $7)`,
    [
      ...[tenantId, quarantineId, route.id, mark],
      JSON.stringify([
        { id: mark, type: mark, accounts: [mark], livemode: false, reason: 'signature_mismatch' },
      ]),
      Buffer.from(mark),
      'a'.repeat(32),
    ],
  )
  await write(
    `insert into impersonation (tenant_id, id, token_id, impersonator, subject, read_only, reason, expires_at)
     values ($1, $2, $3, 'operator:someone', $4, true, $5, now() + interval '30 minutes')`,
    [tenantId, impersonationId, newId(), member.subject, mark],
  )
  await write(
    `insert into onboarding_run (tenant_id, id, state, started_by, reason, ended_at)
     values ($1, $2, 'passed', 'operator:someone', $3, now())`,
    [tenantId, runId, mark],
  )
  return new Map([
    ['/workspaces/{id}', tenantId],
    ['/workspaces/{id}/verify/{run}', runId],
    ['/policies/{name}', mark],
    ['/connectors/{name}', mark],
    ['/breakers/{connector}', mark],
    ['/configs/{version}', String(version)],
    ['/secret-refs/{name}', mark],
    ['/secret-refs/{name}/versions/{version}', '1'],
    ['/identities/{id}', identity.id],
    ['/trusted-issuers/{id}', issuer.id],
    ['/webhook-routes/{id}', route.id],
    ['/webhook-inbox/{id}', inboxId],
    ['/quarantine/{id}', quarantineId],
    ['/webhook-inbox/retry/plans/{id}', retryPlan.plan_id],
    ['/webhook-inbox/erase/plans/{id}', erasePlan.plan_id],
    ['/webhook-gaps/{id}', await missingWebhook(db, { tenantId, routeId: route.id, eventId: mark })],
    ['/jobs/{id}', job.job_id],
    ['/payloads/{id}', payloads[0]?.id ?? 'there is none'],
    ['/dlq/plans/{id}', plan.plan_id],
    ['/executions/{id}', await unknownExecution(db, tenantId)],
    ['/members/{id}', member.id],
    ['/invitations/{id}', invitation.id],
    ['/impersonation/{id}', impersonationId],
  ])
}

/** An emergency session that lives, and its token: for one workspace, or for none yet. */
export async function openEmergency(
  { db }: Pick<QueueFixture, 'db'>,
  workspaceId: string | null,
): Promise<string> {
  const [id, token] = [newId(), newToken()]
  await insertSession(db, {
    ...{ id, environment: 'dev', subject: 'operator:on-call@example.com', seconds: 3_000 },
    ...{ reason: 'the hub is on fire', ticket: 'T-1', ip: '127.0.0.1' },
  })
  await insertToken(db, { sha256: sha256(token.reveal()), sessionId: id, workspaceId })
  return `Bearer ${token.reveal()}`
}
