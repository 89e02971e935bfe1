import type { Queryable } from '../../platform/db/statement.ts'
import { momentAt } from '../../platform/http/moment.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { type LetterFilter, type Whereabouts, whereaboutsOf } from '../../queue/dead-letters.ts'
import type { QueueName } from '../../queue/job.ts'
import type { PlanAction, StoredFilter } from './dead-letters.sql.ts'

/** Where the letters of an action must be: in the queue's list, or in its bin. */
export const takesFromBin = (action: PlanAction): boolean => action === 'restore'

/**
 * A filter as it came in; `where` is its JSON pointer. Errors: `validation_error` for times that are well written
 * and do not exist, like a leap second that was none.
 */
export function checkedFilter(filter: StoredFilter, where: string): StoredFilter {
  for (const name of ['dead_after', 'dead_before'] as const) {
    const time = filter[name]
    if (time !== undefined) momentAt(`${where}/${name}`, time)
  }
  return filter
}

export const filterOf = (stored: StoredFilter): LetterFilter => ({
  connector: stored.connector,
  operation: stored.operation,
  reason: stored.reason,
  errorClass: stored.error_class,
  fingerprint: stored.fingerprint,
  deadAfter: stored.dead_after === undefined ? undefined : new Date(stored.dead_after),
  deadBefore: stored.dead_before === undefined ? undefined : new Date(stored.dead_before),
})

/** Why an action cannot be done to a job; undefined = it can. */
export function obstacle(
  action: PlanAction,
  queue: QueueName,
  { queue: itsQueue, place, replays }: Whereabouts,
): string | undefined {
  if (itsQueue !== queue) return `is in the queue ${itsQueue}`
  switch (place) {
    case 'dead_letter':
      return takesFromBin(action) ? 'is not in the bin: it is a dead letter' : undefined
    case 'bin':
      return takesFromBin(action) ? undefined : 'is purged: restore it first'
    case 'removed':
      return 'was purged, and the bin has been emptied'
    default:
      return replays > 0 ? `was replayed and is ${place}` : `is not a dead letter: it is ${place}`
  }
}

interface Named {
  readonly action: PlanAction
  readonly queue: QueueName
  readonly ids: readonly string[]
}

/**
 * Checks jobs that were named for an action and gives the time of the oldest letter. Errors: `not_found` when the
 * workspace has not all of them, the same for those of another workspace; `conflict` that names the state of each
 * one that it cannot be done to.
 */
export async function requireAllLetters(on: Queryable, tenantId: string, named: Named): Promise<Date> {
  const found = await whereaboutsOf(on, tenantId, named.ids)
  const absent: ProblemDetail[] = []
  const wrong: ProblemDetail[] = []
  const times: number[] = []
  for (const [at, id] of named.ids.entries()) {
    const path = `/body/ids/${at}`
    const whereabouts = found.get(id)
    const message = whereabouts && obstacle(named.action, named.queue, whereabouts)
    if (!whereabouts) absent.push({ path, message: 'is not a job of this workspace' })
    else if (message !== undefined) wrong.push({ path, message })
    else if (whereabouts.deadAt) times.push(whereabouts.deadAt.getTime())
  }
  if (absent.length > 0)
    throw new Problem('not_found', 'There is no such dead letter in this workspace.', { details: absent })
  if (wrong.length > 0) throw cannotBeDone(named, wrong)
  return new Date(Math.min(...times))
}

/**
 * Refuses an action that no named job allows any more. Others may have acted on some of them since: those are left
 * out when their turn comes. Errors: `conflict` that names the state of each.
 */
export async function requireSomeLetter(on: Queryable, tenantId: string, named: Named): Promise<void> {
  const found = await whereaboutsOf(on, tenantId, named.ids)
  const wrong: ProblemDetail[] = []
  for (const [at, id] of named.ids.entries()) {
    const whereabouts = found.get(id)
    const message = whereabouts ? obstacle(named.action, named.queue, whereabouts) : 'is no longer kept'
    if (message === undefined) return
    wrong.push({ path: `/ids/${at}`, message })
  }
  throw cannotBeDone(named, wrong)
}

const PARTICIPLE = { replay: 'replayed', purge: 'purged', restore: 'restored' } as const

function cannotBeDone({ action, ids }: Named, details: readonly ProblemDetail[]): Problem {
  const [first] = details
  const text =
    ids.length === 1
      ? `The job cannot be ${PARTICIPLE[action]}: it ${first?.message}.`
      : `${details.length} of ${ids.length} jobs cannot be ${PARTICIPLE[action]}: the first of them ${first?.message}.`
  return new Problem('conflict', text, { details })
}
