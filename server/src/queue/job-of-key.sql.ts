import { many } from '../platform/db/statement.ts'

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
