import type { Metrics } from '../platform/metrics.ts'

/**
 * Adds the metrics of something that several processes of one Node process share to those of one of them. Those
 * that every registry has are the process's own and stay.
 */
export function exposeMetrics(shared: Metrics, { registry }: Metrics): void {
  for (const { name } of shared.registry.getMetricsAsArray()) {
    const metric = shared.registry.getSingleMetric(name)
    if (metric && !registry.getSingleMetric(name)) registry.registerMetric(metric)
  }
}
