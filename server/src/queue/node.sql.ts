import { one, run } from '../platform/db/statement.ts'
import { PLACE_AT, PLACE_SEQ } from './job-row.ts'

export interface BeatRow {
  /** No lease that is started after this answer has a number up to this one. */
  readonly last_lease: number
  /** Leases of this node whose jobs somebody wants cancelled. */
  readonly cancels: readonly number[]
}

/** Keeps the node alive (registers it the first time) and brings what it should stop. */
export const beatNode = one<
  {
    readonly nodeId: string
    readonly host: string
    readonly capacity: number
    readonly oldestLease: number
  },
  BeatRow
>(
  'queue.beat',
  `insert into node (node_id, host, capacity, oldest_lease) values ($1, $2, $3, $4)
   on conflict (node_id) do update
     set beat_at = clock_timestamp(), oldest_lease = greatest(node.oldest_lease, excluded.oldest_lease)
   returning
     (select case when is_called then last_value else 0 end from job_lease_seq) as last_lease,
     (select coalesce(json_agg(lease_id), '[]') from job_run
      where node_id = $1 and cancel_requested_at is not null) as cancels`,
  ({ nodeId, host, capacity, oldestLease }) => [nodeId, host, capacity, oldestLease],
)

export const removeNode = run<{ readonly nodeId: string }>(
  'queue.remove_node',
  'delete from node where node_id = $1',
  ({ nodeId }) => [nodeId],
)

/** Rows of nodes that went away without a word and have nothing left to rescue. */
export const removeDeadNodes = run<undefined>(
  'queue.remove_dead_nodes',
  `delete from node n
   where n.beat_at < clock_timestamp() - interval '10 minutes'
     and not exists (select from job_run r where r.node_id = n.node_id)`,
  () => [],
)

/**
 * Gives back jobs whose claim was answered into a broken connection: the leases exist, but the node never heard
 * of them. Nothing of them ran, so the attempt is not spent and no attempt row is written. One whose cancel was
 * requested meanwhile must end, with all that follows: its time is declared over, and the next `rescue` cancels it.
 * Leases above `upTo` are left alone: they may be younger than `held`, and this statement may have waited for a
 * connection for longer than `olderThanMs`.
 */
export const returnUnknown = run<{
  readonly nodeId: string
  readonly held: readonly number[]
  readonly upTo: number
  /** A claim of a younger lease may not have been answered yet. */
  readonly olderThanMs: number
}>(
  'queue.return_unknown',
  `with over as (
     update job_run set deadline_at = started_at + interval '1 microsecond'
     where node_id = $1 and started_at < clock_timestamp() - $4 * interval '1 millisecond'
       and cancel_requested_at is not null and lease_id <= $3 and not lease_id = any ($2::bigint[])
       and deadline_at > clock_timestamp()
   ),
   gone as (
     delete from job_run
     where node_id = $1 and started_at < clock_timestamp() - $4 * interval '1 millisecond'
       and cancel_requested_at is null and lease_id <= $3 and not lease_id = any ($2::bigint[])
     returning *
   )
   insert into job_ready (queue, tenant_id, lane, priority, seq, job_id, attempt, ready_at)
   select queue, tenant_id, lane, priority, ${PLACE_SEQ}, job_id, attempt, ${PLACE_AT} from gone`,
  ({ nodeId, held, upTo, olderThanMs }) => [nodeId, held, upTo, olderThanMs],
)

export const planSettings = one<undefined, { readonly seqscan: string }>(
  'queue.plan_settings',
  `select current_setting('enable_seqscan') as seqscan`,
  () => [],
)
