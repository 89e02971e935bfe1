import { many, one, type Queryable } from '../platform/db/statement.ts'

/** Absent = any. */
export interface LetterFilter {
  readonly connector?: string | undefined
  readonly operation?: string | undefined
  readonly reason?: string | undefined
  readonly errorClass?: string | undefined
  readonly fingerprint?: string | undefined
  /** Died at this moment or later. */
  readonly deadAfter?: Date | undefined
  readonly deadBefore?: Date | undefined
}

/** Dead letters of one queue, or those of it that are in the bin. */
export interface LetterScope {
  readonly tenantId: string
  readonly queue: number
  readonly binned: boolean
  readonly filter: LetterFilter
}

/** Place of a letter in its queue; microseconds since 1970, because a date would lose the last three digits. */
export interface LetterKey {
  readonly deadUs: number
  readonly id: string
}

export interface LetterRow {
  readonly id: string
  readonly connector: string
  readonly operation: string
  readonly dead_at: Date
  readonly dead_us: number
  readonly purged_at: Date | null
  readonly reason: string
  readonly attempts: number
  readonly error_class: string
  readonly error_message: string
  readonly http_status: number | null
  readonly fingerprint: string
  readonly replays: number
  readonly inbox_id: string | null
  readonly correlation_id: string | null
  readonly trace_id: string | null
}

const US = '(extract(epoch from d.dead_at) * 1000000)::bigint'
const fromUs = (parameter: string) => `timestamptz 'epoch' + ${parameter}::bigint * interval '1 microsecond'`

const COLUMNS = `d.job_id as id, d.connector, d.operation, d.dead_at, ${US} as dead_us, d.purged_at, d.reason,
  d.attempts, d.error_class, d.error_message, d.http_status, d.fingerprint, coalesce(j.replays, 0) as replays,
  j.inbox_id, j.correlation_id, j.trace_id`
/** The history of a letter may be gone before the letter. */
const HISTORY = `left join lateral (
     select * from job where tenant_id = d.tenant_id and id = d.job_id offset 0
   ) as j on true`

const FITS = `d.tenant_id = $1 and d.queue = $2 and d.binned = $3
     and ($4::text is null or d.connector = $4) and ($5::text is null or d.operation = $5)
     and ($6::text is null or d.reason = $6) and ($7::text is null or d.error_class = $7)
     and ($8::timestamptz is null or d.dead_at >= $8) and ($9::timestamptz is null or d.dead_at < $9)`

const scopeOf = ({ tenantId, queue, binned, filter }: LetterScope) => [
  tenantId,
  queue,
  binned,
  filter.connector ?? null,
  filter.operation ?? null,
  filter.reason ?? null,
  filter.errorClass ?? null,
  filter.deadAfter ?? null,
  filter.deadBefore ?? null,
]

/**
 * A statement over a scope, twice: with a fingerprint it goes by an index of its own, and one prepared statement
 * has one plan. `text` gets the condition of the scope; further parameters start at $11.
 */
function overScope<Args extends LetterScope, Row extends object>(
  name: string,
  text: (condition: string) => string,
  more: (args: Args) => readonly unknown[],
) {
  const bind = (args: Args) => [...scopeOf(args), args.filter.fingerprint ?? null, ...more(args)]
  // $10 stands in both, so that the numbers of the others do not depend on it.
  const all = many<Args, Row>(name, text(`${FITS} and $10::text is null`), bind)
  const oneGroup = many<Args, Row>(`${name}_of_group`, text(`${FITS} and d.fingerprint = $10`), bind)
  return (on: Queryable, args: Args): Promise<Row[]> =>
    (args.filter.fingerprint === undefined ? all : oneGroup)(on, args)
}

/** Newest first. */
export const listLetters = overScope<
  LetterScope & { readonly before?: LetterKey | undefined; readonly limit: number },
  LetterRow
>(
  'dead_letters.list',
  (fits) => `select ${COLUMNS} from job_dead d ${HISTORY}
   where ${fits} and ($11::bigint is null or (d.dead_at, d.job_id) < (${fromUs('$11')}, $12::uuid))
   order by d.dead_at desc, d.job_id desc limit $13`,
  ({ before, limit }) => [before?.deadUs ?? null, before?.id ?? null, limit],
)

export interface GroupRow {
  readonly fingerprint: string
  readonly letters: number
  readonly first_at: Date
  readonly last_at: Date
  readonly last_us: number
  /** The newest letter of the group. */
  readonly job_id: string
  readonly connector: string
  readonly operation: string
  readonly error_class: string
  readonly error_message: string
  readonly http_status: number | null
}

/** Failures of one kind counted together, the one that happened last first. */
export const listGroups = overScope<
  LetterScope & {
    readonly before?: { readonly lastUs: number; readonly fingerprint: string } | undefined
    readonly limit: number
  },
  GroupRow
>(
  'dead_letters.groups',
  (fits) => `select g.*, s.*
   from (
     select d.fingerprint, count(*) as letters, min(d.dead_at) as first_at, max(d.dead_at) as last_at,
            (extract(epoch from max(d.dead_at)) * 1000000)::bigint as last_us
     from job_dead d
     where ${fits}
     group by d.fingerprint
     having $11::bigint is null or (max(d.dead_at), d.fingerprint) < (${fromUs('$11')}, $12::text)
     order by max(d.dead_at) desc, d.fingerprint desc limit $13
   ) as g
   cross join lateral (
     select d.job_id, d.connector, d.operation, d.error_class, d.error_message, d.http_status
     from job_dead d
     where ${fits} and d.fingerprint = g.fingerprint
     order by d.dead_at desc, d.job_id desc limit 1
   ) as s
   order by g.last_at desc, g.fingerprint desc`,
  ({ before, limit }) => [before?.lastUs ?? null, before?.fingerprint ?? null, limit],
)

/** What was there before a moment: later letters are not part of a plan that was made then. */
const WAS_THERE = 'd.dead_at < $11 and coalesce(d.purged_at < $11, true)'

export const countLetters = overScope<
  LetterScope & { readonly cutoff: Date },
  { readonly letters: number; readonly oldest: Date | null }
>(
  'dead_letters.count',
  (fits) =>
    `select count(*) as letters, min(d.dead_at) as oldest from job_dead d where ${fits} and ${WAS_THERE}`,
  ({ cutoff }) => [cutoff],
)

/** Whether the job of a letter is still kept: without it, nothing can be replayed. */
export type PickedRow = LetterRow & { readonly kept: boolean }

const PICKED = `${COLUMNS}, j.id is not null as kept`

/** The next letters of a plan, oldest first, locked: two actions on the same letters take turns, in one order. */
export const pickLetters = overScope<
  LetterScope & { readonly cutoff: Date; readonly after: LetterKey | undefined; readonly limit: number },
  PickedRow
>(
  'dead_letters.pick',
  (fits) => `select ${PICKED} from job_dead d ${HISTORY}
   where ${fits} and ${WAS_THERE}
     and ($12::bigint is null or (d.dead_at, d.job_id) > (${fromUs('$12')}, $13::uuid))
   order by d.dead_at, d.job_id limit $14
   for update of d`,
  ({ cutoff, after, limit }) => [cutoff, after?.deadUs ?? null, after?.id ?? null, limit],
)

export const pickNamed = many<Omit<LetterScope, 'filter'> & { readonly ids: readonly string[] }, PickedRow>(
  'dead_letters.pick_named',
  `select ${PICKED} from job_dead d ${HISTORY}
   where d.tenant_id = $1 and d.queue = $2 and d.binned = $3 and d.job_id = any ($4::uuid[])
   order by d.dead_at, d.job_id
   for update of d`,
  ({ tenantId, queue, binned, ids }) => [tenantId, queue, binned, ids],
)

export interface WhereaboutsRow {
  readonly id: string
  readonly queue: number
  /** Null: it is no dead letter. */
  readonly binned: boolean | null
  readonly dead_at: Date | null
  readonly replays: number
}

/** What has become of jobs, as far as the dead letters know; a job of which nothing is kept is not among them. */
export const whereLettersAre = many<
  { readonly tenantId: string; readonly ids: readonly string[] },
  WhereaboutsRow
>(
  'dead_letters.whereabouts',
  `select w.id, coalesce(d.queue, j.queue) as queue, d.binned, d.dead_at, coalesce(j.replays, 0) as replays
   from unnest($2::uuid[]) as w (id)
   left join job_dead d on d.tenant_id = $1 and d.job_id = w.id
   left join lateral (select queue, replays from job where tenant_id = $1 and id = w.id offset 0) as j on true
   where d.job_id is not null or j.queue is not null`,
  ({ tenantId, ids }) => [tenantId, ids],
)

interface ActionArgs {
  readonly tenantId: string
  readonly ids: readonly string[]
  readonly actor: string
  readonly why: string
  readonly planId: string | null
}

/** See the SQL function: the jobs that live again, in the order given. */
export const replayDeadLetters = many<
  ActionArgs & { readonly newEffect: boolean },
  { readonly job_id: string; readonly queue: number; readonly lane: number }
>(
  'dead_letters.replay',
  'select * from replay_dead_letters($1, $2, $3, $4, $5, $6)',
  ({ tenantId, ids, actor, why, planId, newEffect }) => [tenantId, ids, actor, why, planId, newEffect],
)

/** See the SQL function: the letters that moved. */
export const binDeadLetters = many<ActionArgs & { readonly intoBin: boolean }, { readonly job_id: string }>(
  'dead_letters.bin',
  'select * from bin_dead_letters($1, $2, $3, $4, $5, $6)',
  ({ tenantId, ids, intoBin, actor, why, planId }) => [tenantId, ids, intoBin, actor, why, planId],
)

/** Removes what has lain in the bin for too long; the timelines of the jobs tell it. */
export const emptyBin = one<{ readonly days: number; readonly limit: number }, { readonly removed: number }>(
  'dead_letters.empty_bin',
  `with old as materialized (
     select tenant_id, job_id from job_dead
     where binned and purged_at < statement_timestamp() - $1 * interval '1 day'
     order by purged_at limit $2
     for update skip locked
   ),
   gone as (
     delete from job_dead d using old
     where d.tenant_id = old.tenant_id and d.job_id = old.job_id
     returning d.*
   ),
   told as materialized (
     select append_events(json_agg(json_build_object(
       'tenant_id', d.tenant_id, 'type', 'job.removed_from_bin', 'connector', d.connector, 'job_id', d.job_id,
       'inbox_id', j.inbox_id, 'correlation_id', j.correlation_id, 'trace_id', j.trace_id,
       'message', 'Removed for good: it had been in the bin for ' || $1 || ' days.',
       'data', json_build_object('queue', queue_name(d.queue), 'operation', d.operation, 'purged_at', d.purged_at)
     ))) as events
     from gone d ${HISTORY}
   )
   select count(*) as removed from gone, told`,
  ({ days, limit }) => [days, limit],
)
