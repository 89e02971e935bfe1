import type { Db } from '../../platform/db/db.ts'
import type { Notifications } from '../../platform/db/notifications.ts'
import type { Log } from '../../platform/log.ts'
import { createLookUp } from '../../platform/look-ups.ts'
import { listPointers } from './configs.sql.ts'
import { type ActiveConfig, type ActiveConnector, loadActiveConfig } from './load-config.ts'

/** Hint to the processes that hold configs in memory; the payload is the workspace's id. */
export const CONFIG_CHANNEL = 'orchestrator_config'
/** NOTIFY tells at once; the poll finds what a lost hint did not tell. */
const POLL_MS = 5_000

/** The active configs in memory: no database read on the hot path (DESIGN D1). */
export interface ActiveConfigs {
  /**
   * The active config. A caller may be faster than the hint that tells of a change a moment ago: when the config
   * lacks one of `names`, the database is asked before the answer. Errors: `database_unavailable`.
   */
  get(tenantId: string, names?: readonly string[]): Promise<ActiveConfig>
  /** A connector of the active config. Errors: as `get`, `connector_not_found`, `config_invalid`. */
  connector(tenantId: string, name: string, path?: string): Promise<ActiveConnector>
  close(): void
}

/**
 * Loads on first use and again when another version becomes active. With the database down, what is known stays
 * in force; only what nobody has ever asked for cannot be answered.
 */
export function createActiveConfigs(options: {
  readonly db: Db
  readonly notifications: Notifications
  readonly log: Log
  readonly pollMs?: number
}): ActiveConfigs {
  const { db, log } = options
  const known = new Map<string, Promise<ActiveConfig>>()

  /** Loads anew. For others a failed load leaves the config before it in force; the poll will try again. */
  const load = (tenantId: string): Promise<ActiveConfig> => {
    const before = known.get(tenantId)
    const loading = loadActiveConfig(db, tenantId)
    const lasting = before === undefined ? loading : loading.catch(() => before)
    known.set(tenantId, lasting)
    lasting.catch(() => {
      if (known.get(tenantId) === lasting) known.delete(tenantId)
    })
    return loading
  }

  /** Workspaces of which memory holds another version than the one that is active now. */
  const outdated = async (tenantIds: readonly string[]): Promise<string[]> => {
    const pointers = await listPointers(db, { tenantIds })
    const versions = new Map(pointers.map((row) => [row.tenant_id, row.version]))
    const found: string[] = []
    for (const tenantId of tenantIds) {
      const held = await known.get(tenantId)?.catch(() => undefined)
      if (held && held.version !== (versions.get(tenantId) ?? 0)) found.push(tenantId)
    }
    return found
  }

  const reload = (tenantIds: readonly string[]): Promise<unknown> =>
    Promise.all(
      tenantIds.map((tenantId) =>
        load(tenantId).catch((error: unknown) =>
          log.warn({ err: error, tenant_id: tenantId }, 'the active config could not be read'),
        ),
      ),
    )
  const poll = (): void => {
    const tenantIds = [...known.keys()]
    if (tenantIds.length === 0) return
    outdated(tenantIds)
      .then(reload)
      .catch((error: unknown) => log.debug({ err: error }, 'the config poll failed'))
  }
  const lookUp = createLookUp(async (tenantId) => {
    for (const each of await outdated([tenantId])) await load(each)
  })

  const unlisten = options.notifications.listen(CONFIG_CHANNEL, (tenantId) => {
    if (tenantId === undefined) poll()
    else if (known.has(tenantId)) void reload([tenantId])
  })
  const timer = setInterval(poll, options.pollMs ?? POLL_MS).unref()

  const get: ActiveConfigs['get'] = async (tenantId, names = []) => {
    const config = await (known.get(tenantId) ?? load(tenantId))
    if (names.every((name) => Object.hasOwn(config.document.connectors, name))) return config
    await lookUp(tenantId)
    return known.get(tenantId) ?? load(tenantId)
  }

  return {
    get,
    connector: async (tenantId, name, path) => (await get(tenantId, [name])).connector(name, path),
    close: () => {
      clearInterval(timer)
      unlisten()
    },
  }
}
