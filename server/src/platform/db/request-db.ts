/**
 * The second wall between tenants, behind the filters of the statements (docs/decisions/0015): what a request asks goes
 * through connections of a role that sees the rows of one tenant, the one that the transaction names.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { escapeLiteral } from 'pg'
import { createDb, type Db, type DbOptions } from './db.ts'

const requestOf = new AsyncLocalStorage<string>()

/** Runs `work`, and all that it begins, as a request of this tenant. */
export const asRequestOf = <T>(tenantId: string, work: () => T): T => requestOf.run(tenantId, work)

/**
 * A pool for what requests ask for their own tenant. Each statement and transaction sees the rows of the tenant of the
 * request that runs it. Outside of a request it throws: timers, batches and caches serve all tenants and have a Db of
 * the service role.
 *
 * The connections are of the request role from their start on: prepared plans are made once for it, and no statement can
 * be run before somebody has stepped down.
 */
export function createRequestDb(options: Omit<DbOptions, 'role' | 'opening'>): Db {
  return createDb({
    ...options,
    role: 'request',
    opening: () => {
      const tenantId = requestOf.getStore()
      if (tenantId === undefined) throw new Error('a statement of a request was run outside of one')
      return `begin; select set_config('orchestrator.tenant_id', ${escapeLiteral(tenantId)}, true)`
    },
  })
}
