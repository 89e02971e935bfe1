import { many, maybeOne, run } from '../../platform/db/statement.ts'
import type { EventRecord } from '../../platform/event-log.ts'

export interface BreakerRow {
  readonly tenant_id: string
  readonly connector: string
  readonly state: 'closed' | 'open' | 'half_open'
  /** Null unless it is open and this time has not come. */
  readonly open_until: Date | null
  /** What is left of it by the clock of the database; null likewise. Milliseconds. */
  readonly open_ms: number | null
  readonly why: string
  readonly shadow: boolean
  readonly changed_at: Date | null
  readonly forced: 'open' | 'closed' | null
  readonly forced_until: Date | null
  readonly forced_ms: number | null
  readonly forced_why: string | null
  readonly forced_by: string | null
  readonly forced_at: Date | null
}

/** What has ended by itself is not shown: an open breaker after its time, a force after its expiry. */
const COLUMNS = `tenant_id, connector, state, why, shadow, changed_at,
  case when open_until > clock_timestamp() then open_until end as open_until,
  case when open_until > clock_timestamp()
       then (extract(epoch from open_until - clock_timestamp()) * 1000)::float8 end as open_ms,
  case when forced_until > clock_timestamp() then forced end as forced,
  case when forced_until > clock_timestamp() then forced_until end as forced_until,
  case when forced_until > clock_timestamp()
       then (extract(epoch from forced_until - clock_timestamp()) * 1000)::float8 end as forced_ms,
  case when forced_until > clock_timestamp() then forced_why end as forced_why,
  case when forced_until > clock_timestamp() then forced_by end as forced_by,
  case when forced_until > clock_timestamp() then forced_at end as forced_at`

export const listBreakerRows = many<
  { readonly tenantId: string; readonly afterConnector: string; readonly limit: number },
  BreakerRow
>(
  'breakers.list',
  `select ${COLUMNS} from breaker where tenant_id = $1 and connector > $2 order by connector limit $3`,
  ({ tenantId, afterConnector, limit }) => [tenantId, afterConnector, limit],
)

export const findBreakerRow = maybeOne<{ readonly tenantId: string; readonly connector: string }, BreakerRow>(
  'breakers.find',
  `select ${COLUMNS} from breaker where tenant_id = $1 and connector = $2`,
  ({ tenantId, connector }) => [tenantId, connector],
)

/** Those of all workspaces that a process must know: open now, or forced now. */
export const listLiveBreakers = many<Record<string, never>, BreakerRow>(
  'breakers.list_live',
  `select ${COLUMNS} from breaker
   where forced_until > clock_timestamp() or (open_until > clock_timestamp() and not shadow)`,
  () => [],
)

export interface TransitionRow {
  readonly tenant_id: string
  readonly connector: string
  readonly state: 'closed' | 'open' | 'half_open'
  readonly open_ms: number | null
  readonly why: string
  readonly shadow: boolean
  readonly event: EventRecord
}

/**
 * What a process says of some breakers, in its order: all events, and of each breaker the last word. What is forced
 * stays.
 */
export const saveTransitions = run<{ readonly transitions: readonly TransitionRow[] }>(
  'breakers.save_transitions',
  `with entry as materialized (
     select * from rows from (
       json_to_recordset($1::json) as (
         tenant_id uuid, connector text, state text, open_ms float8, why text, shadow boolean, event json
       )
     ) with ordinality as r (tenant_id, connector, state, open_ms, why, shadow, event, place)
   ),
   saved as (
     insert into breaker as b (tenant_id, connector, state, open_until, why, shadow, changed_at)
     select distinct on (tenant_id, connector)
            tenant_id, connector, state, clock_timestamp() + open_ms * interval '1 millisecond', why, shadow,
            clock_timestamp()
     from entry order by tenant_id, connector, place desc
     on conflict (tenant_id, connector) do update
       set state = excluded.state, open_until = excluded.open_until, why = excluded.why, shadow = excluded.shadow,
           changed_at = excluded.changed_at
   )
   select append_events(json_agg(event order by place)) from entry`,
  ({ transitions }) => [JSON.stringify(transitions)],
)

export const forceRow = run<{
  readonly tenantId: string
  readonly connector: string
  readonly forced: 'open' | 'closed'
  readonly forMs: number
  readonly why: string
  readonly by: string
}>(
  'breakers.force',
  `insert into breaker as b (tenant_id, connector, forced, forced_until, forced_why, forced_by, forced_at)
   values ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond', $5, $6, clock_timestamp())
   on conflict (tenant_id, connector) do update
     set forced = excluded.forced, forced_until = excluded.forced_until, forced_why = excluded.forced_why,
         forced_by = excluded.forced_by, forced_at = excluded.forced_at`,
  ({ tenantId, connector, forced, forMs, why, by }) => [tenantId, connector, forced, forMs, why, by],
)

/** 0 when nothing was forced. */
export const releaseRow = run<{ readonly tenantId: string; readonly connector: string }>(
  'breakers.release',
  `update breaker set forced = null, forced_until = null, forced_why = null, forced_by = null, forced_at = null
   where tenant_id = $1 and connector = $2 and forced_until > clock_timestamp()`,
  ({ tenantId, connector }) => [tenantId, connector],
)
