import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface SummaryRow {
  readonly version: number
  readonly sha256: Buffer
  readonly author: string
  readonly reason: string
  readonly created_at: Date
  readonly active: boolean
}

export interface VersionRow extends SummaryRow {
  readonly document: unknown
}

const SUMMARY_COLUMNS = `v.version, v.sha256, v.author, v.reason, v.created_at,
  p.version is not distinct from v.version as active`
const VERSION_COLUMNS = `${SUMMARY_COLUMNS}, v.document`

export const findActive = maybeOne<{ tenantId: string }, VersionRow>(
  'configs.find_active',
  `select ${VERSION_COLUMNS}
   from config_pointer p join config_version v on v.tenant_id = p.tenant_id and v.version = p.version
   where p.tenant_id = $1`,
  ({ tenantId }) => [tenantId],
)

export const findVersion = maybeOne<{ tenantId: string; version: number }, VersionRow>(
  'configs.find_version',
  `select ${VERSION_COLUMNS}
   from config_version v left join config_pointer p on p.tenant_id = v.tenant_id
   where v.tenant_id = $1 and v.version = $2`,
  ({ tenantId, version }) => [tenantId, version],
)

/** Without the documents: a page of them may be a hundred megabytes. */
export const listVersions = many<{ tenantId: string; before: number | null; limit: number }, SummaryRow>(
  'configs.list_versions',
  `select ${SUMMARY_COLUMNS}
   from config_version v left join config_pointer p on p.tenant_id = v.tenant_id
   where v.tenant_id = $1 and ($2::int is null or v.version < $2)
   order by v.version desc limit $3`,
  ({ tenantId, before, limit }) => [tenantId, before, limit],
)

export const insertVersion = one<
  { tenantId: string; document: string; sha256: Buffer; author: string; reason: string },
  { version: number }
>(
  'configs.insert_version',
  `insert into config_version (tenant_id, version, document, sha256, author, reason)
   select $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5 from config_version where tenant_id = $1
   returning version`,
  ({ tenantId, document, sha256, author, reason }) => [tenantId, document, sha256, author, reason],
)

export const movePointer = run<{ tenantId: string; version: number; by: string }>(
  'configs.move_pointer',
  `insert into config_pointer (tenant_id, version, activated_by) values ($1, $2, $3)
   on conflict (tenant_id) do update
   set version = excluded.version, activated_at = now(), activated_by = excluded.activated_by`,
  ({ tenantId, version, by }) => [tenantId, version, by],
)

/** Gives every connector of the document its lane number; names that had one keep it for ever. */
export const addLanes = run<{ tenantId: string; connectors: readonly string[] }>(
  'configs.add_lanes',
  `insert into connector_lane (tenant_id, lane, connector)
   select $1, (select coalesce(max(lane), 0) from connector_lane where tenant_id = $1) + row_number() over (order by name), name
   from unnest($2::text[]) as name
   where not exists (select from connector_lane l where l.tenant_id = $1 and l.connector = name)`,
  ({ tenantId, connectors }) => [tenantId, connectors],
)

export const listLanes = many<{ tenantId: string }, { lane: number; connector: string }>(
  'configs.list_lanes',
  'select lane, connector from connector_lane where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

/** The active versions of the given workspaces: what the poll compares with memory. */
export const listPointers = many<{ tenantIds: readonly string[] }, { tenant_id: string; version: number }>(
  'configs.list_pointers',
  'select tenant_id, version from config_pointer where tenant_id = any($1::uuid[])',
  ({ tenantIds }) => [tenantIds],
)
