import type { QueueName } from '../../queue/job.ts'
import type { LoadShed, Work } from '../../resilience/load-shed.ts'
import type { ActiveConfig } from '../configs/configs.ts'
import { admit, type GuardMetrics } from '../guards/guards.ts'
import type { RuleMode } from '../policies/policies.ts'

const WORK: Readonly<Record<QueueName, Work>> = {
  critical: 'critical',
  webhook: 'default',
  default: 'default',
  low: 'low',
}
const IMPORTANCE: readonly Work[] = ['critical', 'default', 'low']

interface Asked {
  readonly connector: string
  readonly operation: string
  readonly queue?: QueueName
}

/**
 * Refuses jobs that an overloaded process does not take, by their queue and by the mode of `load_shedding` in their
 * policies. A batch is one transaction and is taken or refused as one: by the most important of its jobs, and not at
 * all where a policy of that importance does not enforce. Errors: `overloaded`.
 */
export function admitJobs(
  loadShed: LoadShed,
  config: ActiveConfig,
  jobs: readonly Asked[],
  onWouldHave: GuardMetrics['wouldHave'],
): void {
  // The usual case costs no look at any policy.
  if (loadShed.level === 0) return
  const modes = new Map<Work, Set<RuleMode>>()
  for (const { connector, operation, queue = 'default' } of jobs) {
    const ofWork = modes.get(WORK[queue]) ?? new Set<RuleMode>()
    const policy = config.connectors.get(connector)?.policy(operation).policy
    modes.set(WORK[queue], ofWork.add(policy?.load_shedding.mode ?? 'enforce'))
  }
  const work = IMPORTANCE.find((each) => modes.has(each))
  const ofWork = work && modes.get(work)
  if (work === undefined || ofWork === undefined || ofWork.has('off')) return
  if (ofWork.has('shadow')) loadShed.takes(work, 'shadow', onWouldHave)
  else admit(loadShed, work)
}
