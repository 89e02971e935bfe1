import { type Static, Type } from 'typebox'
import type { Dial } from '../../platform/dial/dial.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'
import { ConnectorConfig, checkConnector } from '../connectors/connectors.ts'
import { checkPolicy, effectivePolicy, PolicyDocument } from '../policies/policies.ts'

const NAME = Type.String({ pattern: '^(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*$' })

/** The policy that connectors without a policy of their own use, when the document has one of this name. */
export const DEFAULT_POLICY = 'default'

/** Everything that decides how a workspace's calls are made (DESIGN D1). Secrets and webhook routes stay outside. */
export const ConfigDocument = Type.Object(
  {
    policies: Type.Record(NAME, PolicyDocument, {
      additionalProperties: false,
      maxProperties: 200,
      description: `Policies by name. \`${DEFAULT_POLICY}\` is inherited by every connector.`,
    }),
    connectors: Type.Record(NAME, ConnectorConfig, {
      additionalProperties: false,
      maxProperties: 500,
      description: 'Connectors by name.',
    }),
  },
  { additionalProperties: false, description: 'The config of a workspace: policies and connectors.' },
)
export type ConfigDocument = Static<typeof ConfigDocument>

/** `GET /policies/effective` is another question: a policy of this name could be stored but not read. */
const RESERVED_POLICY = 'effective'

export const EMPTY_DOCUMENT: ConfigDocument = { policies: {}, connectors: {} }

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
}

export interface Delivery {
  readonly connector: string
  /** Who delivers, for people: `webhook_route:<id>`. */
  readonly by: string
}

const OF_THE_WORKSPACE = { workspace_max_running: 'cap', workspace_weight: 'share' } as const

/**
 * Every fault of a document that fits its schema: what a policy contradicts in itself or in what it inherits,
 * what a connector's kind refuses, names that nothing has, connectors that are needed. Paths are JSON pointers
 * into the document.
 */
export function checkDocument(document: ConfigDocument, surroundings: Surroundings): ProblemDetail[] {
  const policyFaults = Object.entries(document.policies).flatMap(([name, policy]) =>
    under(
      `/policies/${name}`,
      checkPolicy(policy, name === DEFAULT_POLICY ? undefined : inherited(document)),
    ),
  )
  for (const [name, { concurrency }] of Object.entries(document.policies))
    for (const [field, what] of Object.entries(OF_THE_WORKSPACE))
      if (
        name !== DEFAULT_POLICY &&
        typeof concurrency?.[field as keyof typeof OF_THE_WORKSPACE] === 'number'
      )
        policyFaults.push({
          path: `/policies/${name}/concurrency/${field}`,
          message: `can only stand in the policy ${DEFAULT_POLICY}: it is the ${what} of the workspace`,
        })
  if (Object.hasOwn(document.policies, RESERVED_POLICY))
    policyFaults.push({ path: `/policies/${RESERVED_POLICY}`, message: 'is a reserved name' })
  const connectorFaults = Object.entries(document.connectors).flatMap(([name, connector]) => {
    const at = `/connectors/${name}`
    const { refusal, secretNames } = surroundings
    const faults = under(at, checkConnector(name, connector, refusal ? { refusal } : {}))
    if (connector.policy !== undefined && !Object.hasOwn(document.policies, connector.policy))
      faults.push({ path: `${at}/policy`, message: `there is no policy ${connector.policy}` })
    for (const [secret, ref] of Object.entries(connector.secrets ?? {}))
      if (!secretNames.has(ref))
        faults.push({
          path: `${at}/secrets/${pointerPart(secret)}`,
          message: `there is no secret ref ${ref}`,
        })
    return faults
  })
  const deliveryFaults = surroundings.deliveries
    .filter(({ connector }) => kindOf(document, connector) !== 'callback')
    .map(({ connector, by }) => ({
      path: `/connectors/${connector}`,
      message: `must stay a connector of kind callback: ${by} delivers to it`,
    }))
  return [...policyFaults, ...connectorFaults, ...deliveryFaults]
}

const kindOf = (document: ConfigDocument, name: string): string | undefined =>
  Object.hasOwn(document.connectors, name) ? document.connectors[name]?.kind : undefined

/** What a named policy inherits: the system's values with the workspace's default policy over them. */
function inherited(document: ConfigDocument) {
  const workspace = document.policies[DEFAULT_POLICY]
  if (workspace === undefined || checkPolicy(workspace).length > 0) return undefined
  return effectivePolicy({ workspace }).policy
}
