import { context } from '@opentelemetry/api'
import { contextFrom, traceIdOf } from '../../platform/call-context.ts'
import type { ActiveConfigs } from '../configs/configs.ts'
import { findOperation, sendsKey } from '../connectors/connectors.ts'
import type { Execution } from './execution.ts'
import type { DueRow } from './execution-keys.sql.ts'
import { type KeyedDeps, runHeld } from './keyed-execution.ts'

export type { DueRow } from './execution-keys.sql.ts'

/**
 * Runs an execution again whose outcome is unknown, under the upstream key of the first time: an upstream that
 * honours it gives the outcome of the first run, or has the effect now. By the config of now. What cannot be run stays
 * unknown. Never rejects: the caller of the first run has gone.
 */
export async function rerun(
  deps: KeyedDeps & { readonly activeConfigs: ActiveConfigs },
  due: DueRow,
  stopSignal: AbortSignal,
): Promise<void> {
  const trace = contextFrom(due.traceparent)
  const execution: Execution = {
    principal: { subject: due.subject, tenantId: due.tenant_id },
    call: {
      requestId: due.request_id,
      correlationId: due.correlation_id,
      traceId: traceIdOf(trace),
      traceparent: due.traceparent,
    },
    connector: due.connector,
    operation: due.operation,
    input: due.input,
  }
  const checked = await check(deps, execution, due).catch(() => undefined)
  if (!checked) {
    await deps.keys.end({
      tenantId: due.tenant_id,
      key: due.key,
      executionId: due.execution_id,
      lease: due.lease,
      to: 'unknown',
      again: !due.too_late,
    })
    return
  }
  const startedAt = deps.platform.clock.monotonic()
  const held = { row: due, key: due.key, byWorker: true }
  await context
    .with(trace, () => runHeld(deps, { ...checked, execution, startedAt, stopSignal }, held))
    // Its answer is for those who ask for it again.
    .catch(() => undefined)
}

/** Rejects when it must not or cannot be run now. */
async function check(
  { activeConfigs }: { readonly activeConfigs: ActiveConfigs },
  { principal, connector, operation: name, input }: Execution,
  due: DueRow,
) {
  if (due.too_late) throw new Error('the upstream may have forgotten the key')
  const active = await activeConfigs.connector(principal.tenantId, connector)
  const operation = findOperation(active.connector, name)
  if (!sendsKey(operation, input)) throw new Error('the operation takes no key any more')
  operation.validateInput(input)
  return { active, operation, policy: active.policy(name).policy }
}
