import type { Metrics } from '../platform/metrics.ts'

const START_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3_600]

const create = (metrics: Metrics) => ({
  claimed: metrics.counter('jobs_claimed_total', 'Leases started by this process', ['queue']),
  settled: metrics.counter('jobs_settled_total', 'Leases ended by this process', ['queue', 'outcome']),
  stale: metrics.counter('jobs_stale_settlements_total', 'Settlements refused because the lease was lost'),
  rescued: metrics.counter('jobs_rescued_total', 'Jobs taken from dead workers', ['fate']),
  expired: metrics.counter('jobs_expired_total', 'Jobs that did not start in time and became dead letters'),
  repaired: metrics.counter('jobs_repaired_total', 'Unfinished jobs found in none or several places', [
    'fault',
  ]),
  promoted: metrics.counter('jobs_promoted_total', 'Deferred jobs that became ready'),
  running: metrics.gauge('jobs_running', 'Attempts that this process runs now', ['queue']),
  startDelay: metrics.histogram(
    'job_start_delay_seconds',
    'From ready to the start of the attempt',
    ['queue'],
    START_SECONDS,
  ),
  ready: metrics.gauge('jobs_ready', 'Jobs waiting for a worker (sampled, reported by one worker)', [
    'queue',
  ]),
  oldest: metrics.gauge('jobs_ready_oldest_seconds', 'Age of the job that waits longest', ['queue']),
  deferred: metrics.gauge('jobs_deferred', 'Jobs waiting for a time (sampled, reported by one worker)'),
  dead: metrics.gauge('jobs_dead', 'Dead letters (sampled, reported by one worker)', ['queue']),
  blocked: metrics.gauge(
    'lanes_blocked',
    'What claims skip now, by reason: lanes, queues of a workspace, workspaces (sampled, reported by one worker)',
    ['reason'],
  ),
  deadLetters: metrics.counter('dead_letters_handled_total', 'Dead letters that bulk actions came to', [
    'action',
    'result',
  ]),
  oldLetters: metrics.counter(
    'retention_dead_letters_total',
    'Dead letters that had been kept for long enough',
    ['went'],
  ),
})

export type QueueMetrics = ReturnType<typeof create>

const created = new WeakMap<Metrics, QueueMetrics>()

/** The queue's metrics of a process; several runners of one process share them. */
export function queueMetrics(metrics: Metrics): QueueMetrics {
  const known = created.get(metrics) ?? create(metrics)
  created.set(metrics, known)
  return known
}
