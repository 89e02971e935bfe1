import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Clock } from '../../platform/clock.ts'
import { cache } from '../../resilience/cache.ts'
import { coalesce } from '../../resilience/coalesce.ts'
import { fallback } from '../../resilience/fallback.ts'
import { hedge } from '../../resilience/hedge.ts'
import type { CallResult, Stage, StageOf } from '../../resilience/pipeline.ts'
import type { Policy } from '../policies/policies.ts'
import type { Guards } from './guard-memory.ts'
import type { GuardedCall } from './guard-stages.ts'

/** A call whose answer may be kept, shared or replaced: of a safe operation. */
export interface SafeCall extends GuardedCall {
  readonly configVersion: number
  readonly input: unknown
  /** Told of each second call that is sent beside a slow one. */
  readonly onHedge: () => void
}

/**
 * The stages that give a safe operation an answer in another way than by asking the upstream once, outermost first;
 * none for a policy that has them all off, which is the usual one.
 */
export interface AnswerStages {
  /** Around everything: also the total time may be over. */
  readonly fallback: readonly StageOf<CallResult>[]
  /** Before anything is charged. */
  readonly memory: readonly StageOf<CallResult>[]
  /** Around one attempt. */
  readonly hedge: readonly Stage[]
}

const NONE: AnswerStages = { fallback: [], memory: [], hedge: [] }

export function answerStages(guards: Guards, call: SafeCall, clock: Clock): AnswerStages {
  const { policy } = call
  if (!isOn(policy)) return NONE
  const { responses, callsUnderWay } = guards
  const key = keyOf(call)
  const maxStaleMs = policy.fallback.type === 'stale' ? policy.fallback.max_stale_ms : 0
  const ttlMs = policy.cache.ttl_ms
  return {
    fallback: fallbackOf(guards, policy, { key, maxStaleMs }),
    memory: [
      ...(ttlMs > 0 || maxStaleMs > 0 ? [cache({ cache: responses, key, ttlMs, maxStaleMs })] : []),
      ...(policy.coalesce.enabled ? [coalesce({ calls: callsUnderWay, key, clock })] : []),
    ],
    hedge: policy.hedge.enabled
      ? [
          hedge({
            delayMs: policy.hedge.delay_ms,
            latency: guards.latencies.of(call.tenantId, `${call.connector}/${call.operation}`),
            clock,
            onHedge: call.onHedge,
          }),
        ]
      : [],
  }
}

const isOn = ({ fallback: { type }, cache: { ttl_ms }, coalesce: shared, hedge: second }: Policy): boolean =>
  type !== 'none' || ttl_ms > 0 || shared.enabled || second.enabled

function fallbackOf(
  { responses }: Guards,
  { fallback: rule }: Policy,
  { key, maxStaleMs }: { readonly key: string; readonly maxStaleMs: number },
): StageOf<CallResult>[] {
  if (rule.type === 'none') return []
  if (rule.type === 'static') return [fallback({ type: 'static', output: rule.output })]
  return [fallback({ type: 'stale', cache: responses, key, maxStaleMs })]
}

/** What must be equal so that two calls may have one answer. */
const keyOf = ({ tenantId, connector, configVersion, operation, input }: SafeCall): string =>
  `${tenantId}/${connector}/${configVersion}/${operation}/${createHash('sha256').update(canonicalJson(input)).digest('base64')}`
