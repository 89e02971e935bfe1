import { many } from '../../platform/db/statement.ts'

export interface EraseArgs {
  readonly tenantId: string
  /** The id that stands for no workspace. */
  readonly nobody: string
  readonly eventIds: readonly string[]
  readonly sha256: readonly Buffer[]
  readonly by: string
  readonly why: string
}

/** Those of the workspace that name one of the events, and those of nobody with the very same bytes. */
export const eraseRows = many<EraseArgs, { readonly id: string }>(
  'quarantine.erase',
  `with found as materialized (
     select tenant_id, id from quarantine q
     where state in ('kept', 'releasing')
       and (tenant_id = $1 and exists (select from json_array_elements(q.events) as e where e ->> 'id' = any($3::text[]))
            or tenant_id in ($1, $2) and sha256 = any($4::bytea[]))
     order by tenant_id, id for update
   )
   update quarantine q
   set state = 'discarded', targets = null, body = null, copies = null, room = 0, ended_at = clock_timestamp(),
       ended_by = $5, ended_why = $6
   from found f where q.tenant_id = f.tenant_id and q.id = f.id
   returning q.id`,
  ({ tenantId, nobody, eventIds, sha256, by, why }) => [tenantId, nobody, eventIds, sha256, by, why],
)
