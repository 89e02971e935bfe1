import { notify } from '../../platform/db/notifications.ts'
import { createLookUp } from '../../platform/look-ups.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Breakers } from '../../resilience/breakers.ts'
import { type BreakerRecords, createBreakerRecords } from './breaker-records.ts'
import { type BreakerRow, listLiveBreakers } from './breakers.sql.ts'

/** Tells processes that a breaker was forced or released. */
export const BREAKER_CHANNEL = 'orchestrator_breaker'
/** NOTIFY tells at once; the poll finds what a lost hint did not tell. */
const POLL_MS = 5_000

/** Keeps the breakers of a process and their rows in step. */
export interface BreakerCare {
  readonly heard: BreakerRecords['heard']
  /**
   * Gives the breakers what is open and what is forced, and from now on what changes. Resolves when they know; without
   * a database at once, and they hear of it later.
   */
  start(breakers: Breakers): Promise<void>
  close(): Promise<void>
}

export function createBreakerCare(
  platform: Pick<Platform, 'db' | 'notifications' | 'log' | 'clock'>,
  options: Parameters<typeof createBreakerRecords>[1] & { readonly pollMs?: number } = {},
): BreakerCare {
  const { db, notifications, log } = platform
  const records = createBreakerRecords(platform, options)
  let forced: ReadonlySet<string> = new Set()
  let unlisten = (): void => undefined
  let timer: NodeJS.Timeout | undefined

  /** What an operator forces, and what he no longer does. Said again each time: a process may have forgotten it. */
  const obey = (breakers: Breakers, rows: readonly BreakerRow[]): void => {
    const now = new Map(rows.flatMap((row) => (row.forced ? [[nameOf(row), row] as const] : [])))
    for (const name of forced)
      if (!now.has(name)) {
        const [tenantId = '', connector = ''] = name.split(' ')
        breakers.setForced(tenantId, connector, undefined)
      }
    for (const { tenant_id, connector, forced: state, forced_ms: forMs, forced_why } of now.values())
      if (state && forMs !== null)
        breakers.setForced(tenant_id, connector, { state, forMs, why: forced_why ?? '' })
    forced = new Set(now.keys())
  }

  return {
    heard: records.heard,
    start: async (breakers) => {
      let first = true
      const look = async (): Promise<void> => {
        const rows = await listLiveBreakers(db, {})
        if (first)
          breakers.restore(
            rows.flatMap(({ tenant_id: group, connector: key, open_ms: forMs, shadow, why }) =>
              forMs === null || shadow ? [] : [{ group, key, forMs, why }],
            ),
          )
        first = false
        obey(breakers, rows)
      }
      // One at a time: an answer that was read earlier must not be obeyed later.
      const lookUp = createLookUp(() =>
        look().catch((err: unknown) => log.debug({ err }, 'the breakers could not be read')),
      )
      const lookAgain = (): Promise<void> => lookUp('all')
      unlisten = notifications.listen(BREAKER_CHANNEL, () => void lookAgain())
      timer = setInterval(() => void lookAgain(), options.pollMs ?? POLL_MS).unref()
      await lookAgain()
    },
    close: async () => {
      unlisten()
      clearInterval(timer)
      await records.close()
    },
  }
}

const nameOf = ({ tenant_id, connector }: BreakerRow): string => `${tenant_id} ${connector}`

/** Tells the processes to look; inside the transaction that forces or releases. */
export const tellBreakers = (on: Parameters<typeof notify>[0], tenantId: string): ReturnType<typeof notify> =>
  notify(on, { channel: BREAKER_CHANNEL, payload: tenantId })
