import { maybeOne } from '../platform/db/statement.ts'

export const selectJobOfKey = maybeOne<
  { readonly tenantId: string; readonly key: string; readonly requestHash: Buffer },
  { readonly job_id: string; readonly created_at: Date }
>(
  'queue.job_of_key',
  `select job_id, created_at from idem
   where tenant_id = $1 and scope = 'job' and key = $2 and request_hash = $3`,
  ({ tenantId, key, requestHash }) => [tenantId, key, requestHash],
)
