import type { Db } from '../../../platform/db/db.ts'
import type { Platform } from '../../../platform/platform.ts'
import { countHeld, countWaiting, FIRST_GROUP, listHeldGroups } from './held.sql.ts'
import { aloneOf, type WayDeps, waysOf } from './held-ways.ts'
import { HELD_WHYS } from './reception.ts'

export interface HeldSampleDeps extends WayDeps {
  readonly platform: Pick<Platform, 'log' | 'metrics'> & { readonly db: Db }
}

export interface HeldSample {
  /** For the one worker that does it for all. */
  measure(): Promise<void>
  /** Old samples of a former leader would stay in its metrics for ever. */
  forget(): void
}

const PAGE = 200
const ORDERING = 'ordering'
const CAUSES = [...HELD_WHYS, ORDERING] as const
/** Nothing is in their way: they are released in a moment. */
const RELEASE = 'release'

interface Measured {
  readonly events: number
  readonly oldest_seconds: number
}

/** Measures what waits in the inbox, by what it waits for now. Of a route 10,000 events are counted at most. */
export function createHeldSample(deps: HeldSampleDeps): HeldSample {
  const { db, log, metrics } = deps.platform
  const held = metrics.gauge('webhooks_held', 'Events that wait without a job, of a route 10,000 at most', [
    'why',
  ])
  const oldest = metrics.gauge('webhooks_held_oldest_seconds', 'How long the oldest of them waits', ['why'])

  const measured = async (): Promise<ReadonlyMap<string, Measured>> => {
    const found = new Map<string, Measured>()
    const add = (why: string, { events, oldest_seconds }: Measured): void => {
      const before = found.get(why) ?? { events: 0, oldest_seconds: 0 }
      found.set(why, {
        events: before.events + events,
        oldest_seconds: Math.max(before.oldest_seconds, oldest_seconds),
      })
    }
    add(ORDERING, await countWaiting(db, undefined))
    for (let after = FIRST_GROUP, more = true; more; ) {
      const groups = await listHeldGroups(db, { after, limit: PAGE })
      const ways = []
      for (const group of groups) ways.push(...((await aloneOf(log, group, () => waysOf(deps, group))) ?? []))
      const of = ways.map(({ group: { tenant_id, route_id, paused }, connector }) => ({
        ...{ tenant_id, route_id, connector: paused === null ? connector : null },
      }))
      const counted = await countHeld(db, { of })
      for (const [at, way] of ways.entries()) {
        const row = counted[at]
        if (row) add(way.why ?? RELEASE, row)
      }
      after = groups.at(-1) ?? FIRST_GROUP
      more = groups.length === PAGE
    }
    return found
  }

  return {
    measure: async () => {
      const found = await measured()
      for (const why of [...CAUSES, RELEASE]) {
        held.set({ why }, found.get(why)?.events ?? 0)
        oldest.set({ why }, found.get(why)?.oldest_seconds ?? 0)
      }
    },
    forget: () => {
      held.reset()
      oldest.reset()
    },
  }
}
