import type { QueueName } from '../../queue/job.ts'
import type { LoadShed, Work } from '../../resilience/load-shed.ts'
import { admit } from '../guards/guards.ts'

const WORK: Readonly<Record<QueueName, Work>> = {
  critical: 'critical',
  webhook: 'default',
  default: 'default',
  low: 'low',
}
const IMPORTANCE: readonly Work[] = ['critical', 'default', 'low']

/**
 * Refuses jobs that an overloaded process does not take, by the most important queue among them: a batch is one
 * transaction and is taken or refused as one. Errors: `overloaded`.
 */
export function admitJobs(loadShed: LoadShed, jobs: readonly { readonly queue?: QueueName }[]): void {
  const works = new Set(jobs.map(({ queue = 'default' }) => WORK[queue]))
  const work = IMPORTANCE.find((each) => works.has(each))
  if (work !== undefined) admit(loadShed, work)
}
