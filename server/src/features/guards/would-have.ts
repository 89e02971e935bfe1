import type { Metrics } from '../../platform/metrics.ts'

/** Counts what rules in shadow mode would have done. */
export type WouldHave = (rule: string) => void

/** Made once by each process, for its own metrics. */
export function createWouldHave(metrics: Pick<Metrics, 'counter'>): WouldHave {
  const counter = metrics.counter(
    'policy_would_have_total',
    'Calls that a rule in shadow mode would have refused or made wait',
    ['rule'],
  )
  return (rule) => counter.inc({ rule })
}
