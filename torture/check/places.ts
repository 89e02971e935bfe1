import type { JobRow, PlaceRow, Script } from '../history.ts'
import type { Ledger } from './ledger.ts'

export interface PlaceFindings {
  /** Still to be done after the drain, although nothing disturbed it any more. */
  readonly stuck: string[]
  /**
   * Unfinished jobs in none or several of ready, run and deferred; finished ones in any. Also those that the hub's own
   * reconciler found so and mended: it must never have anything to do.
   */
  readonly misplaced: string[]
  /** Jobs that ended and should have told so, exactly once. */
  readonly callbacks: string[]
  /** Dead letters for no good reason. */
  readonly buried: string[]
  readonly states: Readonly<Record<JobRow['state'], number>>
}

/** Where every job is when everything has come to rest. */
export function checkPlaces(ledger: Ledger): PlaceFindings {
  const { tables } = ledger.history
  const places = new Map<string, PlaceRow['place'][]>()
  for (const { job, place } of tables.places) places.set(job, [...(places.get(job) ?? []), place])
  const stuck: string[] = []
  const misplaced: string[] = []
  const callbacks: string[] = []
  const buried: string[] = []
  const reasons = new Map(tables.dead.map(({ job, reason }) => [job, reason]))
  const scripts = new Map(ledger.history.sends.map(({ send, script }) => [send, script]))
  const states = { queued: 0, done: 0, cancelled: 0, dead: 0 }

  for (const job of tables.jobs) {
    states[job.state] += 1
    const held = places.get(job.id) ?? []
    places.delete(job.id)
    const where = held.length === 0 ? 'nowhere' : held.join(' and ')
    if (job.state === 'queued') {
      if (held.length === 1) stuck.push(`${nameOf(job)}: still in ${where}`)
      else misplaced.push(`${nameOf(job)}: unfinished and ${where}`)
    } else if (held.some((place) => place !== 'ready' || job.state !== 'cancelled') || held.length > 1)
      // A cancel may leave one ready row behind, which the next claim of the lane drops.
      misplaced.push(`${nameOf(job)}: ${job.state} and still in ${where}`)
    const reason = job.state === 'dead' ? (reasons.get(job.id) ?? 'none') : undefined
    if (reason !== undefined && !deserved(ledger, job, reason, scripts.get(job.send ?? '')))
      buried.push(`${nameOf(job)}: a dead letter because of ${reason}`)
    const told = ledger.callbacksOf(job.id).length
    if (job.state !== 'queued' && told !== (job.wants_callback ? 1 : 0))
      callbacks.push(`${nameOf(job)}: ${job.state} and has ${told} callbacks`)
  }
  for (const { job, type } of tables.events)
    if (type === 'job.repaired') misplaced.push(`${job}: had to be repaired while the run went on`)
  for (const [job, held] of places) misplaced.push(`${job}: no such job, but in ${held.join(' and ')}`)
  return { stuck, misplaced, callbacks, buried, states }
}

/** A worker dies of this job for the third time, or so it seems. */
const POISON_AFTER = 3

/** Whatever we did to the hub, only these make a dead letter of a job. */
function deserved(ledger: Ledger, job: JobRow, reason: string, script: Script | undefined): boolean {
  if (reason === 'permanent') return script === 'refuse'
  if (reason === 'expired') return job.expires !== null
  const lost = ledger.attemptsOf(job.id).filter(({ outcome }) => outcome === 'lost')
  return reason === 'poison' && lost.length >= POISON_AFTER
}

export const nameOf = ({ id, connector, send }: JobRow): string =>
  `job ${id} (${connector}, ${send ?? 'callback'})`
