import type { AttemptRow, JobRow } from '../history.ts'
import type { Ledger } from './ledger.ts'
import { nameOf } from './places.ts'

const END_EVENT = { done: 'job.succeeded', dead: 'job.dead_lettered', cancelled: 'job.cancelled' } as const
const END_EVENTS = Object.values(END_EVENT)
const EVENT_OF: Partial<Record<AttemptRow['outcome'], string>> = {
  retry: 'job.retry_scheduled',
  snoozed: 'job.snoozed',
  returned: 'job.returned',
}

/**
 * Events of finished jobs that are missing or too many: one for the acceptance, one for each attempt that did not
 * end the job, one for the end.
 */
export function checkEvents(ledger: Ledger): string[] {
  const counts = new Map<string, Map<string, number>>()
  for (const { job, type, count } of ledger.history.tables.events) {
    const ofJob = counts.get(job) ?? new Map<string, number>()
    counts.set(job, ofJob.set(type, count))
  }
  return ledger.history.tables.jobs.flatMap((job) => {
    const of = (type: string) => counts.get(job.id)?.get(type) ?? 0
    return faultsOf(job, ledger.attemptsOf(job.id), of).map((fault) => `${nameOf(job)}: ${fault}`)
  })
}

function faultsOf(job: JobRow, attempts: readonly AttemptRow[], of: (type: string) => number): string[] {
  const { state } = job
  if (state === 'queued') return []
  const faults: string[] = []
  const expect = (what: string, found: number, wanted: number) => {
    if (found !== wanted) faults.push(`${state} with ${found} × ${what} instead of ${wanted}`)
  }
  expect('job.queued or job.scheduled', of('job.queued') + of('job.scheduled'), 1)
  for (const type of END_EVENTS) expect(type, of(type), type === END_EVENT[state] ? 1 : 0)
  for (const [outcome, type] of Object.entries(EVENT_OF))
    expect(type, of(type), attempts.filter((attempt) => attempt.outcome === outcome).length)
  // The rescue that ends a job (poison, a requested cancel) tells the end instead.
  const lost = attempts.filter(({ outcome }) => outcome === 'lost')
  const endedByRescue = state !== 'done' && lost.length > 0 && lost.at(-1) === attempts.at(-1)
  const rescued = of('job.rescued')
  if (rescued !== lost.length && !(endedByRescue && rescued === lost.length - 1))
    expect('job.rescued', rescued, lost.length)
  return faults
}
