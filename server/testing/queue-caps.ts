import type { Queryable } from '../src/platform/db/statement.ts'
import { setLaneCaps, setTenantShare } from '../src/queue/lane-policy.ts'

/** The cap of one lane; null takes it away. */
export const setLaneCap = (
  on: Queryable,
  { tenantId, lane, maxRunning }: { tenantId: string; lane: number; maxRunning: number | null },
): Promise<unknown> => setLaneCaps(on, { tenantId, caps: [{ lane, max_running: maxRunning }] })

/** The cap of a workspace with the usual share; null takes it away. */
export const setTenantCap = (
  on: Queryable,
  { tenantId, maxRunning }: { tenantId: string; maxRunning: number | null },
): Promise<unknown> => setTenantShare(on, { tenantId, maxRunning, weight: 1 })
