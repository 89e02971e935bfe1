import { many, maybeOne, run } from '../../platform/db/statement.ts'

export type RunState = 'running' | 'passed' | 'failed' | 'broken_off'

export interface RunRow {
  readonly id: string
  readonly state: RunState
  readonly started_by: string
  readonly reason: string
  readonly lines: unknown
  readonly started_at: Date
  readonly ended_at: Date | null
}

interface RunKey {
  readonly tenantId: string
  readonly id: string
}

const COLUMNS = 'id, state, started_by, reason, lines, started_at, ended_at'

/** Errors: the unique index `onboarding_run_one_at_a_time` while another one runs or is cleared up after. */
export const insertRun = run<RunKey & { readonly startedBy: string; readonly reason: string }>(
  'onboarding.insert_run',
  'insert into onboarding_run (tenant_id, id, started_by, reason) values ($1, $2, $3, $4)',
  ({ tenantId, id, startedBy, reason }) => [tenantId, id, startedBy, reason],
)

/** What becomes of a run or a sweep whose process has said nothing for so long. */
const BROKEN_OFF = `state = 'broken_off', ended_at = coalesce(ended_at, now()), uses_neighbour = false, sweeping = false`
const SWEEP_BROKEN_OFF = 'uses_neighbour = false, sweeping = false'

/** Runs of the workspace whose process has said nothing for `silentMs`; null = of all workspaces. */
export const breakOffSilent = run<{ readonly tenantId: string | null; readonly silentMs: number }>(
  'onboarding.break_off_silent',
  `update onboarding_run set ${BROKEN_OFF}
   where state = 'running' and ($1::uuid is null or tenant_id = $1) and alive_at < now() - $2 * interval '1 ms'`,
  ({ tenantId, silentMs }) => [tenantId, silentMs],
)

/** The same for those who were taking away what such a run has left. */
export const breakOffSweeps = run<{ readonly silentMs: number }>(
  'onboarding.break_off_sweeps',
  `update onboarding_run set ${SWEEP_BROKEN_OFF} where sweeping and alive_at < now() - $1 * interval '1 ms'`,
  ({ silentMs }) => [silentMs],
)

/** The same for whoever of any workspace holds the neighbour. */
export const breakOffNeighbour = run<{ readonly silentMs: number }>(
  'onboarding.break_off_neighbour',
  `update onboarding_run set ${BROKEN_OFF}
   where uses_neighbour and state = 'running' and alive_at < now() - $1 * interval '1 ms'`,
  ({ silentMs }) => [silentMs],
)

/** Nothing when it was taken for dead meanwhile. */
export const tellLines = maybeOne<RunKey & { readonly lines: unknown }, { id: string }>(
  'onboarding.tell_lines',
  `update onboarding_run set lines = $3, alive_at = now()
   where tenant_id = $1 and id = $2 and state = 'running' returning id`,
  ({ tenantId, id, lines }) => [tenantId, id, JSON.stringify(lines)],
)

/** Nothing when it was taken for dead. Errors: the unique index `onboarding_run_one_neighbour` while another has it. */
export const takeNeighbour = maybeOne<RunKey, { id: string }>(
  'onboarding.take_neighbour',
  `update onboarding_run set uses_neighbour = true, alive_at = now()
   where tenant_id = $1 and id = $2 and (state = 'running' or sweeping) returning id`,
  ({ tenantId, id }) => [tenantId, id],
)

export const holdsNeighbour = maybeOne<RunKey, { id: string }>(
  'onboarding.holds_neighbour',
  'select id from onboarding_run where tenant_id = $1 and id = $2 and uses_neighbour',
  ({ tenantId, id }) => [tenantId, id],
)

/** `cleared`: nothing is left of it. */
export const endRun = run<
  RunKey & { readonly state: RunState; readonly lines: unknown; readonly cleared: boolean }
>(
  'onboarding.end_run',
  `update onboarding_run set state = $3, lines = $4, ended_at = now(), uses_neighbour = false, cleared = $5
   where tenant_id = $1 and id = $2 and state = 'running'`,
  ({ tenantId, id, state, lines, cleared }) => [tenantId, id, state, JSON.stringify(lines), cleared],
)

/** Runs before this one have nothing left: it has looked. */
export const clearedRuns = run<{ readonly tenantId: string; readonly before: string }>(
  'onboarding.cleared_runs',
  `update onboarding_run set cleared = true
   where tenant_id = $1 and id < $2 and state <> 'running' and not cleared`,
  ({ tenantId, before }) => [tenantId, before],
)

export interface LeftRow {
  readonly tenant_id: string
  readonly id: string
  readonly slug: string
}

/**
 * Takes one run that may have left something, for whoever asks first. A run of a workspace that cannot be called now
 * waits until it can. Errors: the unique index `onboarding_run_one_at_a_time` when another one has begun meanwhile.
 */
export const claimSweep = maybeOne<
  { readonly environment: string; readonly mostSweeps: number; readonly againMs: number },
  LeftRow
>(
  'onboarding.claim_sweep',
  `update onboarding_run r set sweeping = true, sweeps = sweeps + 1, alive_at = now()
   from workspace w
   where w.id = r.tenant_id and (r.tenant_id, r.id) in (
     select c.tenant_id, c.id from onboarding_run c join workspace of on of.id = c.tenant_id
     where c.state <> 'running' and not c.cleared and not c.sweeping and c.sweeps < $2
       and (c.sweeps = 0 or c.alive_at < now() - $3 * interval '1 ms')
       and of.environment = $1 and of.status = 'active'
       and not exists (select from onboarding_run o
                       where o.tenant_id = c.tenant_id and (o.state = 'running' or o.sweeping))
     order by c.id limit 1 for update of c skip locked)
   returning r.tenant_id, r.id, w.slug`,
  ({ environment, mostSweeps, againMs }) => [environment, mostSweeps, againMs],
)

export const endSweep = run<RunKey & { readonly cleared: boolean }>(
  'onboarding.end_sweep',
  `update onboarding_run set sweeping = false, uses_neighbour = false, cleared = cleared or $3
   where tenant_id = $1 and id = $2 and sweeping`,
  ({ tenantId, id, cleared }) => [tenantId, id, cleared],
)

export const findRun = maybeOne<RunKey, RunRow>(
  'onboarding.find_run',
  `select ${COLUMNS} from onboarding_run where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** All but the newest `keep`. */
export const forgetOldRuns = run<{ readonly tenantId: string; readonly keep: number }>(
  'onboarding.forget_old_runs',
  `delete from onboarding_run where tenant_id = $1 and state <> 'running' and not sweeping and cleared and id not in
     (select id from onboarding_run where tenant_id = $1 order by id desc limit $2)`,
  ({ tenantId, keep }) => [tenantId, keep],
)

export interface SearchedTable {
  readonly name: string
  readonly tenant_column: string
  readonly blocks: number
}

/** Tables and partitions with rows of workspaces, the newest partitions first. */
export const listSearchedTables = many<Record<string, never>, SearchedTable>(
  'onboarding.searched_tables',
  `select c.oid::regclass::text as name, a.attname as tenant_column,
          pg_relation_size(c.oid) / current_setting('block_size')::int as blocks
   from pg_class c join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
   where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace
     and (a.attname = 'tenant_id' or (c.relname = 'workspace' and a.attname = 'id'))
   order by c.relispartition, c.relname desc`,
  () => [],
)

export const readRows = many<
  {
    readonly table: SearchedTable
    readonly tenantId: string
    readonly firstBlock: number
    readonly blocks: number
    readonly longest: number
  },
  { text: string }
>(
  'onboarding.read_rows',
  'select text from tenant_rows_as_text($1, $2, $3, $4, $5, $6) as text',
  ({ table, tenantId, firstBlock, blocks, longest }) => [
    table.name,
    table.tenant_column,
    tenantId,
    firstBlock,
    blocks,
    longest,
  ],
)

/** Whether a worker does the work called `name` now. */
export const hasLeader = maybeOne<{ readonly name: string }, { name: string }>(
  'onboarding.has_leader',
  'select name from leader where name = $1 and expires_at > clock_timestamp()',
  ({ name }) => [name],
)
