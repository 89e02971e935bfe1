import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Connector, compileConnector } from '../connectors/connectors.ts'
import { type EffectivePolicy, effectivePolicy, type RequestLimits, tightened } from '../policies/policies.ts'
import { findActive, listLanes } from './configs.sql.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { memberOf } from './members.ts'
import { policyLevels } from './policy-levels.ts'

export interface ActiveConnector {
  readonly connector: Connector
  readonly configVersion: number
  /**
   * The policy in force for an operation (absent = for those without a policy of their own), tightened by the
   * request where it asks for less. The same object for every request that asks for nothing. Errors:
   * `policy_violation`.
   */
  policy(operation?: string, request?: RequestLimits): EffectivePolicy
}

export interface ActiveConfig {
  /** 0 for a workspace without a config. */
  readonly version: number
  readonly document: ConfigDocument
  /** The connectors that this hub can use. */
  readonly connectors: ReadonlyMap<string, ActiveConnector>
  /**
   * A connector; `path` says where its name stands in the request. Errors: `connector_not_found`,
   * `config_invalid` for one that this hub cannot use.
   */
  connector(name: string, path?: string): ActiveConnector
}

/**
 * Reads the active config of a workspace and makes its connectors callable. `edit` makes it the config that would
 * come of a change; nothing is stored.
 */
export async function loadActiveConfig(
  on: Queryable,
  tenantId: string,
  edit: (document: ConfigDocument) => ConfigDocument | Promise<ConfigDocument> = (document) => document,
): Promise<ActiveConfig> {
  const row = await findActive(on, { tenantId })
  const version = row?.version ?? 0
  // Checked against the schema before it was stored, and immutable since.
  const document = await edit((row?.document as ConfigDocument | undefined) ?? EMPTY_DOCUMENT)
  const lanes = new Map((await listLanes(on, { tenantId })).map(({ connector, lane }) => [connector, lane]))
  const connectors = new Map<string, ActiveConnector>()
  const unusable = new Map<string, unknown>()
  for (const name of Object.keys(document.connectors))
    try {
      connectors.set(name, activate(document, version, name, lanes.get(name)))
    } catch (cause) {
      // A kind that only a newer hub has, for one: it must not take the other connectors with it.
      unusable.set(name, cause)
    }
  return {
    version,
    document,
    connectors,
    connector: (name, path = '/body/connector') => {
      const found = connectors.get(name)
      if (found) return found
      if (!unusable.has(name)) throw absent(path)
      const cause = unusable.get(name)
      throw cause instanceof Problem ? cause : unusableConnector(name, cause)
    },
  }
}

function activate(
  document: ConfigDocument,
  version: number,
  name: string,
  lane: number | undefined,
): ActiveConnector {
  const config = document.connectors[name]
  if (config === undefined || lane === undefined) throw new Error(`connector ${name} has no lane`)
  const connector = compileConnector({ name, lane, config })
  const levels = { kind: connector.kindPolicy, ...policyLevels(document, config) }
  const ofConnector = effectivePolicy(levels)
  const ofOperations = new Map(
    Object.entries(config.operation_policies ?? {}).map(([operation, policy]) => [
      operation,
      effectivePolicy({ ...levels, operation: memberOf(document, 'policies', policy) }),
    ]),
  )
  return {
    connector,
    configVersion: version,
    policy: (operation, request) => {
      const effective = (operation !== undefined && ofOperations.get(operation)) || ofConnector
      return request ? tightened(effective, request) : effective
    },
  }
}

/** The same words for a connector that does not exist and for one of another workspace. */
const absent = (path: string): Problem =>
  new Problem('connector_not_found', 'The active config has no such connector.', {
    details: [{ path, message: 'is not a connector of the active config' }],
  })

const unusableConnector = (name: string, cause: unknown): Problem =>
  new Problem('config_invalid', `This hub cannot use the connector ${name}.`, { cause })
