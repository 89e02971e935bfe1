import type { CallContext } from '../../platform/call-context.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { appendEvents } from '../../platform/event-log.ts'
import type { Secret } from '../../platform/secret.ts'
import { type Connector, checkConnectorHealth, type Health } from './connectors.ts'

/** People wait for it: what takes longer than this is not healthy. */
const TEST_LIMIT_MS = 10_000
const CONNECT_LIMIT_MS = 3_000

export interface TestDeps {
  readonly db: Db
  readonly clock: Clock
  readonly dial: Dial
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
}

/** Whose connector is tested, by whom and why. A draft has a kind but no name that anything knows. */
export interface ConnectorTest {
  readonly tenantId: string
  readonly connector: Connector
  readonly draft: boolean
  readonly actor: string
  readonly reason: string | undefined
  readonly call: CallContext
}

export interface TestResult extends Health {
  readonly latencyMs: number
}

/**
 * One harmless call of the connector's kind, with a time limit, told in an event. What is wrong with the upstream,
 * the settings or a secret is the result and no error.
 */
export async function testConnector(deps: TestDeps, test: ConnectorTest): Promise<TestResult> {
  const { clock } = deps
  const started = clock.monotonic()
  const health = await withinLimit(clock, (signal) =>
    checkConnectorHealth(
      { ...deps, resolveSecret: (name) => deps.resolveSecret(test.tenantId, name) },
      test.connector,
      { signal, connectTimeoutMs: CONNECT_LIMIT_MS },
    ),
  )
  const latencyMs = Math.round(clock.monotonic() - started)
  await deps.db.transaction((tx) => appendEvents(tx, { events: [eventOf(test, health, latencyMs)] }))
  return { ...health, latencyMs }
}

/** Also ends the wait for a kind that does not hear the signal. */
function withinLimit(clock: Clock, check: (signal: AbortSignal) => Promise<Health>): Promise<Health> {
  const controller = new AbortController()
  return new Promise((resolve, reject) => {
    const takeBack = clock.after(TEST_LIMIT_MS, () => {
      controller.abort(new DOMException('The time limit is over.', 'TimeoutError'))
      const message = `The upstream did not answer within ${TEST_LIMIT_MS / 1_000} seconds.`
      resolve({ healthy: false, message, details: { cause: 'timeout' } })
    })
    check(controller.signal).then(resolve, reject).finally(takeBack)
  })
}

function eventOf(
  { tenantId, connector, draft, actor, reason, call }: ConnectorTest,
  health: Health,
  ms: number,
) {
  const what = draft ? `A draft of a connector of kind ${connector.kind}` : `The connector ${connector.name}`
  return {
    tenant_id: tenantId,
    type: 'connector.tested',
    severity: health.healthy ? 'info' : 'warning',
    message: `${what} was tested by ${actor}: ${health.message}`,
    ...(!draft && { connector: connector.name }),
    request_id: call.requestId,
    correlation_id: call.correlationId,
    trace_id: call.traceId,
    data: { actor, kind: connector.kind, healthy: health.healthy, latency_ms: ms, ...(reason && { reason }) },
  } as const
}
