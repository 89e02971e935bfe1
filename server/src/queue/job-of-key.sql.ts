import { many, maybeOne } from '../platform/db/statement.ts'

export const selectJobsOfKeys = many<
  { readonly tenantId: string; readonly keys: readonly string[]; readonly hashes: readonly string[] },
  { readonly key: string; readonly job_id: string; readonly created_at: Date }
>(
  'queue.jobs_of_keys',
  `select i.key, i.job_id, i.created_at
   from unnest($2::text[], $3::text[]) as asked (key, hash)
   join idem i on i.tenant_id = $1 and i.scope = 'job' and i.key = asked.key
              and i.request_hash = decode(asked.hash, 'hex')`,
  ({ tenantId, keys, hashes }) => [tenantId, keys, hashes],
)

export const selectOrigin = maybeOne<
  { readonly tenantId: string; readonly id: string },
  { readonly request_id: string; readonly trace_id: string }
>(
  'queue.origin_of_job',
  'select request_id, trace_id from job where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)
