import type { RetentionRule } from '../../platform/db/retention.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { idsOfDay } from '../../queue/job-history.ts'
import { avoidLoops, findUndelivered, trimInbox } from './inbox-retention.sql.ts'

/** The inbox: a day of it stays while one of its events is held, or its delivery unfinished or a dead letter. */
export const inboxRetention = (keepDays: number): RetentionRule => ({
  tables: ['webhook_inbox', 'webhook_payload'],
  keepDays,
  heldBy: async (tx, day) => {
    await avoidLoops(tx, undefined)
    const { found } = await findUndelivered(tx, idsOfDay(day))
    return found ? { why: 'events that are not delivered' } : undefined
  },
})

/** Takes events of one workspace out of a day that stays for others, at most `most`; how many it were. */
export const trimInboxDay = (
  on: Queryable,
  { tenantId, day, most }: { readonly tenantId: string; readonly day: string; readonly most: number },
): Promise<number> => trimInbox(on, { tenantId, ...idsOfDay(day), most })
