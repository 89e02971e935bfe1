import type { Metrics } from '../../platform/metrics.ts'
import type { RefusedBy } from '../../resilience/failure.ts'
import type { ServedFrom } from '../../resilience/pipeline.ts'

/** What the rules did to the calls of one process. */
export interface GuardMetrics {
  /** A rule in shadow mode would have refused a call or made it wait. */
  wouldHave(rule: string): void
  refused(by: RefusedBy): void
  /** A failed attempt of an execution is made again. */
  repeated(): void
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
    ['rule'],
  )
  const repeated = metrics.counter('call_retries_total', 'Repetitions inside executions')
  const served = metrics.counter(
    'calls_served_total',
    'Executions that were answered without asking the upstream anew, by who answered',
    ['from'],
  )
  return {
    wouldHave: (rule) => wouldHave.inc({ rule }),
    refused: (rule) => refused.inc({ rule }),
    repeated: () => repeated.inc(),
    servedFrom: (from) => served.inc({ from }),
  }
}
