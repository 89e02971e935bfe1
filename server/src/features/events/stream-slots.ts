import { Problem } from '../../problems.ts'

/** Takes a place for one stream of a tenant and returns how to give it back; `too_many_requests` when full. */
export type TakeSlot = (tenantId: string) => () => void

const RETRY_AFTER_SECONDS = 5

/** Open streams cost memory and polls: one tenant cannot take the places of all. */
export function createStreamSlots(limits: {
  readonly perTenant: number
  readonly perProcess: number
  readonly onChange: (open: number) => void
}): TakeSlot {
  const perTenant = new Map<string, number>()
  let open = 0

  const change = (tenantId: string, by: 1 | -1): void => {
    open += by
    const count = (perTenant.get(tenantId) ?? 0) + by
    if (count === 0) perTenant.delete(tenantId)
    else perTenant.set(tenantId, count)
    limits.onChange(open)
  }

  return (tenantId) => {
    const tooMany =
      (perTenant.get(tenantId) ?? 0) >= limits.perTenant
        ? `This workspace has ${limits.perTenant} open event streams, the most it may have on one process.`
        : open >= limits.perProcess
          ? 'This process has no place for a further event stream.'
          : undefined
    if (tooMany !== undefined)
      throw new Problem('too_many_requests', tooMany, { retryAfterSeconds: RETRY_AFTER_SECONDS })
    change(tenantId, 1)
    let released = false
    return () => {
      if (!released) change(tenantId, -1)
      released = true
    }
  }
}
