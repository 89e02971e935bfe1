import type { Metrics } from '../../platform/metrics.ts'
import type { CallFailure } from '../../resilience/failure.ts'
import type { ServedFrom } from '../../resilience/pipeline.ts'

/** What the rules did to the calls of one process. */
export interface GuardMetrics {
  /** A rule in shadow mode would have refused a call or made it wait. */
  wouldHave(rule: string): void
  /** A rule refused a call; of several limits the one that keeps it waiting longest is named. */
  refused(failure: Pick<CallFailure, 'refusedBy' | 'fullLimits'>): void
  /** A failed attempt of an execution is made again. */
  repeated(): void
  /** A rule would not have a failed attempt made again. */
  notRepeated(by: 'retry_budget' | 'rate_limit'): void
  /** A second call was sent beside one that took long. */
  hedged(): void
  /** Something else than the upstream that was asked answered. */
  servedFrom(from: ServedFrom): void
}

/** Made once by each process, for its own metrics. */
export function createGuardMetrics(metrics: Pick<Metrics, 'counter'>): GuardMetrics {
  const wouldHave = metrics.counter(
    'policy_would_have_total',
    'Calls that a rule in shadow mode would have refused or made wait',
    ['rule'],
  )
  const refused = metrics.counter(
    'calls_refused_total',
    'Executions and attempts of jobs that a rule refused; nothing was sent',
    ['rule', 'limit'],
  )
  const repeated = metrics.counter('call_retries_total', 'Repetitions inside executions')
  const notRepeated = metrics.counter(
    'call_retries_refused_total',
    'Repetitions inside executions that a rule did not let happen',
    ['rule'],
  )
  const hedged = metrics.counter('call_hedges_total', 'Second calls that were sent beside slow ones')
  const served = metrics.counter(
    'calls_served_total',
    'Executions that were answered without asking the upstream anew, by who answered',
    ['from'],
  )
  return {
    wouldHave: (rule) => wouldHave.inc({ rule }),
    refused: ({ refusedBy, fullLimits }) => {
      if (refusedBy) refused.inc({ rule: refusedBy, limit: fullLimits?.[0]?.name ?? '' })
    },
    repeated: () => repeated.inc(),
    notRepeated: (rule) => notRepeated.inc({ rule }),
    hedged: () => hedged.inc(),
    servedFrom: (from) => served.inc({ from }),
  }
}
