import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/**
 * The metrics of one process. Its own registry, so that several processes can live in one Node process
 * (`start all`, tests) without sharing counters. Features add theirs with `counter`, `gauge`, `histogram`.
 */
export interface Metrics {
  readonly registry: Registry
  readonly dbStatement: Histogram<'statement' | 'ok'>
  readonly httpRequest: Histogram<'method' | 'route' | 'status'>
  counter<Label extends string>(name: string, help: string, labels?: readonly Label[]): Counter<Label>
  gauge<Label extends string>(name: string, help: string, labels?: readonly Label[]): Gauge<Label>
  histogram<Label extends string>(
    name: string,
    help: string,
    labels?: readonly Label[],
    buckets?: readonly number[],
  ): Histogram<Label>
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Creates the registry of one process; names get the prefix `orchestrator_`, durations are in seconds. */
export function createMetrics(process: string, withRuntime = true): Metrics {
  const registry = new Registry()
  registry.setDefaultLabels({ process })
  if (withRuntime) collectDefaultMetrics({ register: registry, prefix: 'orchestrator_' })
  const options = <Label extends string>(name: string, help: string, labels: readonly Label[] = []) => ({
    name: `orchestrator_${name}`,
    help,
    labelNames: [...labels],
    registers: [registry],
  })
  const histogram: Metrics['histogram'] = (name, help, labels, buckets = SECONDS) =>
    new Histogram({ ...options(name, help, labels), buckets: [...buckets] })
  return {
    registry,
    histogram,
    counter: (name, help, labels) => new Counter(options(name, help, labels)),
    gauge: (name, help, labels) => new Gauge(options(name, help, labels)),
    dbStatement: histogram('db_statement_seconds', 'Duration of a named statement', ['statement', 'ok']),
    httpRequest: histogram('http_request_seconds', 'Duration of an answered request', [
      'method',
      'route',
      'status',
    ]),
  }
}
