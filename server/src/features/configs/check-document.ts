import type { Dial } from '../../platform/dial/dial.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'
import { type ConnectorConfig, checkConnector, compileConnector } from '../connectors/connectors.ts'
import { checkPolicy, effectivePolicy } from '../policies/policies.ts'
import { type ConfigDocument, DEFAULT_POLICY, MOST_CONNECTORS, MOST_POLICIES } from './document.ts'
import { memberOf } from './members.ts'
import { policyLevels } from './policy-levels.ts'

/** `GET /policies/effective` is another question: a policy of this name could be stored but not read. */
const RESERVED_POLICY = 'effective'

const under = (prefix: string, faults: readonly ProblemDetail[]): ProblemDetail[] =>
  faults.map((fault) => ({ path: `${prefix}${fault.path}`, message: fault.message }))

/** What a document has to fit besides itself. */
export interface Surroundings {
  /** Names of the workspace's secret refs. */
  readonly secretNames: ReadonlySet<string>
  /** What delivers to connectors of kind `callback`, which therefore must stay. */
  readonly deliveries: readonly Delivery[]
  /** Why an address can never be dialled. */
  readonly refusal?: Dial['refusal'] | undefined
  /** The most bytes that the document may have as JSON; absent = any number. */
  readonly maxBytes?: number | undefined
}

export interface Delivery {
  readonly connector: string
  /** Who delivers, for people: `webhook_route:<id>`. */
  readonly by: string
}

/**
 * Every fault of a document that fits its schema: what a policy contradicts in itself or in what it inherits,
 * what a connector's kind refuses, names that nothing has, connectors that are needed. Paths are JSON pointers
 * into the document.
 */
export function checkDocument(document: ConfigDocument, surroundings: Surroundings): ProblemDetail[] {
  const policyFaults = Object.entries(document.policies).flatMap(([name, policy]) =>
    under(
      `/policies/${name}`,
      name === DEFAULT_POLICY ? checkPolicy(policy) : checkPolicy(policy, inherited(document), 'connector'),
    ),
  )
  if (Object.hasOwn(document.policies, RESERVED_POLICY))
    policyFaults.push({ path: `/policies/${RESERVED_POLICY}`, message: 'is a reserved name' })
  const reported = new Set(policyFaults.map(({ path }) => path))
  const connectorFaults = Object.entries(document.connectors).flatMap(([name, connector]) => {
    const at = `/connectors/${name}`
    const { refusal, secretNames } = surroundings
    const faults = under(at, checkConnector(name, connector, refusal ? { refusal } : {}))
    if (faults.length === 0)
      faults.push(...under(at, operationPolicyFaults(document, name, connector, reported)))
    if (connector.policy !== undefined && !memberOf(document, 'policies', connector.policy))
      faults.push({ path: `${at}/policy`, message: `there is no policy ${connector.policy}` })
    for (const [secret, ref] of Object.entries(connector.secrets ?? {}))
      if (!secretNames.has(ref))
        faults.push({
          path: `${at}/secrets/${pointerPart(secret)}`,
          // Not repeated: it may be a value that was put in the wrong place.
          message: 'there is no secret ref of this name',
        })
    return faults
  })
  const deliveryFaults = surroundings.deliveries
    .filter(({ connector }) => memberOf(document, 'connectors', connector)?.kind !== 'callback')
    .map(({ connector, by }) => ({
      path: `/connectors/${connector}`,
      message: `must stay a connector of kind callback: ${by} delivers to it`,
    }))
  return [
    ...sizeFaults(document, surroundings.maxBytes),
    ...policyFaults,
    ...connectorFaults,
    ...deliveryFaults,
  ]
}

/** What grows by single edits must still be a document that can be sent as a whole: exported, imported, verified. */
function sizeFaults(document: ConfigDocument, maxBytes = Number.POSITIVE_INFINITY): ProblemDetail[] {
  const bytes = Buffer.byteLength(JSON.stringify(document))
  const most = { policies: MOST_POLICIES, connectors: MOST_CONNECTORS }
  return [
    ...(['policies', 'connectors'] as const)
      .filter((part) => Object.keys(document[part]).length > most[part])
      .map((part) => ({ path: `/${part}`, message: `must have at most ${most[part]} members` })),
    ...(bytes > maxBytes
      ? [{ path: '', message: `has ${bytes} bytes as JSON; a config may have ${maxBytes}` }]
      : []),
  ]
}

/** What a named policy inherits: the system's values with the workspace's default policy over them. */
function inherited(document: ConfigDocument) {
  const workspace = document.policies[DEFAULT_POLICY]
  if (workspace === undefined || checkPolicy(workspace).length > 0) return undefined
  return effectivePolicy({ workspace }).policy
}

/** Faults of what a connector without faults of its own says about the policies of its operations. */
function operationPolicyFaults(
  document: ConfigDocument,
  name: string,
  config: ConnectorConfig,
  reported: ReadonlySet<string>,
): ProblemDetail[] {
  if (config.operation_policies === undefined) return []
  const { kindPolicy, operations } = compileConnector({ name, lane: 0, config })
  const above = effectivePolicy({ kind: kindPolicy, ...policyLevels(document, config) }).policy
  return Object.entries(config.operation_policies).flatMap(([operation, policyName]) => {
    const path = `/operation_policies/${pointerPart(operation)}`
    if (!operations.has(operation)) return [{ path, message: 'is not an operation of the connector' }]
    const policy = memberOf(document, 'policies', policyName)
    if (!policy) return [{ path, message: `there is no policy ${policyName}` }]
    // What is wrong with the policy wherever it stands has been told at the policy.
    return checkPolicy(policy, above, 'operation')
      .filter((fault) => !reported.has(`/policies/${policyName}${fault.path}`))
      .map((fault) => ({
        path,
        message: `the policy ${policyName} does not fit: ${fault.path} ${fault.message}`,
      }))
  })
}
