import type { Db } from '../../platform/db/db.ts'
import type { Notifications } from '../../platform/db/notifications.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { type Connector, compileConnector } from '../connectors/connectors.ts'
import { type EffectivePolicy, effectivePolicy, type RequestLimits } from '../policies/policies.ts'
import { findActive, listLanes, listPointers } from './configs.sql.ts'
import { type ConfigDocument, DEFAULT_POLICY } from './document.ts'

/** Hint to the processes that hold configs in memory; the payload is the workspace's id. */
export const CONFIG_CHANNEL = 'orchestrator_config'
/** NOTIFY tells at once; the poll finds what a lost hint did not tell. */
const POLL_MS = 5_000
/** A name that memory does not know is looked up at most this often per workspace. */
const MISS_LOOKUP_MS = 250

export interface ActiveConnector {
  readonly connector: Connector
  readonly configVersion: number
  /** The policy in force, tightened by the request where it asks for less. Errors: `policy_violation`. */
  policy(request?: RequestLimits): EffectivePolicy
}

export interface ActiveConfig {
  /** 0 for a workspace without a config. */
  readonly version: number
  readonly document: ConfigDocument
  readonly connectors: ReadonlyMap<string, ActiveConnector>
}

/** The active configs in memory: no database read on the hot path (DESIGN D1). */
export interface ActiveConfigs {
  get(tenantId: string): Promise<ActiveConfig>
  /** A connector of the active config. Errors: `connector_not_found`. */
  connector(tenantId: string, name: string): Promise<ActiveConnector>
  close(): void
}

/** Loads on first use; forgets when another version becomes active. With the database down, what is known stays in force. */
export function createActiveConfigs(options: {
  readonly db: Db
  readonly notifications: Notifications
  readonly log: Log
}): ActiveConfigs {
  const { db, log } = options
  const known = new Map<string, Promise<ActiveConfig>>()
  const missedAt = new Map<string, number>()

  const get = (tenantId: string): Promise<ActiveConfig> => {
    const found = known.get(tenantId)
    if (found) return found
    const loading = load(db, tenantId)
    // A change during the load removes this promise from the map, so that it cannot stay as the truth.
    known.set(tenantId, loading)
    loading.catch(() => {
      if (known.get(tenantId) === loading) known.delete(tenantId)
    })
    return loading
  }

  const forgetOutdated = async (tenantIds: readonly string[]): Promise<void> => {
    const pointers = new Map(
      (await listPointers(db, { tenantIds })).map((row) => [row.tenant_id, row.version]),
    )
    for (const tenantId of tenantIds) {
      const held = known.get(tenantId)
      if (!held) continue
      const { version } = await held
      if (version !== (pointers.get(tenantId) ?? 0) && known.get(tenantId) === held) known.delete(tenantId)
    }
  }

  const unlisten = options.notifications.listen(CONFIG_CHANNEL, (tenantId) => {
    if (tenantId === undefined) known.clear()
    else known.delete(tenantId)
  })
  const poll = setInterval(() => {
    forgetOutdated([...known.keys()]).catch((error) => log.debug({ err: error }, 'the config poll failed'))
  }, POLL_MS).unref()

  return {
    get,
    connector: async (tenantId, name) => {
      const hit = (await get(tenantId)).connectors.get(name)
      if (hit) return hit
      // The caller may be faster than the hint that tells of its own change a moment ago.
      const now = performance.now()
      if (now - (missedAt.get(tenantId) ?? Number.NEGATIVE_INFINITY) >= MISS_LOOKUP_MS) {
        missedAt.set(tenantId, now)
        await forgetOutdated([tenantId])
        const found = (await get(tenantId)).connectors.get(name)
        if (found) return found
      }
      throw new Problem('connector_not_found', 'The active config has no such connector.')
    },
    close: () => {
      clearInterval(poll)
      unlisten()
    },
  }
}

async function load(db: Db, tenantId: string): Promise<ActiveConfig> {
  const row = await findActive(db, { tenantId })
  if (!row) return { version: 0, document: { policies: {}, connectors: {} }, connectors: new Map() }
  const document = row.document as ConfigDocument
  const lanes = new Map((await listLanes(db, { tenantId })).map(({ connector, lane }) => [connector, lane]))
  const workspace = document.policies[DEFAULT_POLICY]
  const connectors = Object.entries(document.connectors).map(([name, config]): [string, ActiveConnector] => {
    const lane = lanes.get(name)
    if (lane === undefined) throw new Error(`connector ${name} has no lane`)
    const own = config.policy === undefined ? undefined : document.policies[config.policy]
    const compiled = compileConnector({ name, lane, config })
    const levels = {
      kind: compiled.kindPolicy,
      ...(workspace && { workspace }),
      ...(own && { connector: own }),
    }
    return [
      name,
      {
        connector: compiled,
        configVersion: row.version,
        policy: (request) => effectivePolicy({ ...levels, ...(request && { request }) }),
      },
    ]
  })
  return { version: row.version, document, connectors: new Map(connectors) }
}
