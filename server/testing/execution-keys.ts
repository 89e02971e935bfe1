import { createExecutionKeys, type ExecutionKeys } from '../src/features/execute/execute.ts'
import { claimKeys, endKeys, type KeyClaim } from '../src/features/execute/execution-keys.sql.ts'
import type { Queryable } from '../src/platform/db/statement.ts'
import { newId } from '../src/platform/ids.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import type { Platform } from '../src/platform/platform.ts'
import { hashOf } from './queue-fixture.ts'

/** The keys of one more process on a database: with metrics of its own, which can only be made once. */
export const executionKeys = (platform: Platform): ExecutionKeys =>
  createExecutionKeys({ ...platform, metrics: createMetrics('test', false) })

/** A call that takes a key; what is not given is made up. */
export const sampleClaim = (claim: Partial<KeyClaim> & Pick<KeyClaim, 'tenantId' | 'key'>): KeyClaim => ({
  fingerprint: hashOf('a request'),
  executionId: newId(),
  leaseMs: 60_000,
  keepMs: 3_600_000,
  repeatable: false,
  safe: false,
  connector: 'api',
  operation: 'charge',
  configVersion: 1,
  subject: 'svc:test',
  requestId: 'request-1',
  correlationId: 'correlation-1',
  traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  ...claim,
})

/** An execution whose outcome nobody knows and that no worker runs again; gives its id. */
export async function unknownExecution(on: Queryable, tenantId: string): Promise<string> {
  const claim = sampleClaim({ tenantId, key: newId() })
  await claimKeys(on, { claims: [claim] })
  const { key, executionId } = claim
  const end = {
    tenantId,
    key,
    executionId,
    lease: 1,
    to: 'unknown',
    outcome: 'upstream_timeout',
    status: 504,
  } as const
  await endKeys(on, { ends: [end] })
  return executionId
}
