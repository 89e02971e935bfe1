import { pino } from 'pino'
import {
  checkConnectorHealth,
  compileConnector,
  dryRunOperation,
  type Health,
  type InvokeResult,
  invokeOperation,
} from '../src/features/connectors/connectors.ts'
import { createDial } from '../src/platform/dial/dial.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import { Secret } from '../src/platform/secret.ts'
import { CallFailure } from '../src/resilience/failure.ts'
import { manualClock } from './manual-clock.ts'

export interface CallOptions {
  readonly idempotencyKey?: string
  readonly signal?: AbortSignal
  readonly connectTimeoutMs?: number
}

/** One connector over the real guarded dial, called attempt by attempt as the pipeline would. */
export function calledConnector(of: {
  readonly kind: string
  readonly settings: Record<string, unknown>
  /** Secret of the kind → its value. */
  readonly secrets?: Readonly<Record<string, string>>
  readonly now?: number
  /** PEM certificates that are trusted besides the usual ones. */
  readonly certificates?: readonly string[]
  readonly allowCidrs?: readonly string[]
  readonly resolveHost?: (name: string) => Promise<readonly string[]>
}) {
  const dial = createDial({
    allowCidrs: of.allowCidrs ?? ['127.0.0.0/8'],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
    ...(of.certificates && { certificates: of.certificates }),
    ...(of.resolveHost && { resolveHost: of.resolveHost }),
  })
  const { secrets = {} } = of
  const connector = compileConnector({
    name: 'sample',
    lane: 1,
    config: {
      kind: of.kind,
      settings: of.settings,
      secrets: Object.fromEntries(Object.keys(secrets).map((name) => [name, name])),
    },
  })
  const clock = manualClock(of.now)
  const resolveSecret = async (name: string) => new Secret(secrets[name] ?? '')
  const deps = { dial, clock, resolveSecret }
  const limits = ({ signal = AbortSignal.timeout(20_000), connectTimeoutMs = 5_000 }: CallOptions = {}) => ({
    signal,
    connectTimeoutMs,
  })

  const call = (operation: string, input: unknown, options: CallOptions = {}): Promise<InvokeResult> =>
    invokeOperation(deps, connector, operation, input, {
      ...limits(options),
      remainingMs: 20_000,
      idempotencyKey: options.idempotencyKey ?? 'orch-key-1',
      attemptToken: 'attempt-1',
      traceparent: '00-1-2-01',
    })

  return {
    connector,
    clock,
    dial,
    call,
    /** The failure of a call that must fail; anything but a `CallFailure` is thrown on. */
    failing: async (operation: string, input: unknown, options?: CallOptions): Promise<CallFailure> => {
      const result = await call(operation, input, options).catch((error: unknown) => error)
      if (result instanceof CallFailure) return result
      throw result instanceof Error ? result : new Error(`it succeeded: ${JSON.stringify(result)}`)
    },
    dryRun: (operation: string, input: unknown, idempotencyKey = 'orch-key-1'): Promise<unknown> =>
      dryRunOperation(deps, connector, operation, input, idempotencyKey),
    health: (options?: CallOptions): Promise<Health> =>
      checkConnectorHealth(deps, connector, limits(options)),
    close: () => dial.close(),
  }
}
export type CalledConnector = ReturnType<typeof calledConnector>
