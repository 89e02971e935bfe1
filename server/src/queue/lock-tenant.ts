import { run } from '../platform/db/statement.ts'

/**
 * Keeps claims of the tenant out until the end of the transaction; the same lock as in `claim_jobs`. Must be a
 * statement of its own, before the job is looked at: only then does the look see what the last claim did.
 */
export const lockTenant = run<{ readonly tenantId: string }>(
  'queue.lock_tenant',
  'select pg_advisory_xact_lock(7101, uuid_hash($1::uuid))',
  ({ tenantId }) => [tenantId],
)
