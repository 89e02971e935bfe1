import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import {
  type ActiveConfig,
  type ConfigDeps,
  type ConfigDocument,
  DEFAULT_POLICY,
  draftConfig,
  loadActiveConfig,
  memberOf,
  withFaultPlaces,
  withMember,
} from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import { type LoggedCall, loggedCalls } from '../execute/execute.ts'
import { checkPolicy } from './check-policy.ts'
import type { PolicyDocument } from './policies.schema.ts'
import type { Policy } from './policy.ts'
import { type CallRules, simulate } from './simulate.ts'
import { SimulateBody, Simulation } from './simulation.schema.ts'

const LAST = 1_000
/** Of policies; a draft that stands in no config needs a name nobody has. */
const DRAFT = 'draft-of-a-simulation'

const NEEDED = {
  workspace: [],
  connector: ['connector'],
  operation: ['connector', 'operation'],
  policy: ['name'],
} as const

/** `POST /policies/simulate`: what another policy would have made of the last calls. Changes nothing. */
export function simulateRoute(app: HttpServer, deps: ConfigDeps): void {
  app.post(
    '/policies/simulate',
    {
      config: { access: { permission: 'configs.read' } },
      schema: {
        operationId: 'simulatePolicy',
        tags: ['policies'],
        summary: 'What a draft of a policy would have made of the last executions, beside the active config',
        description:
          'Sends logged executions once more, at their times and in their order, through rate limits, breaker, ' +
          'retries and time limits: once under the draft, once under the active config. Nothing is stored or sent ' +
          'upstream. It uses what the log knows. It does not know how an upstream would have answered an attempt ' +
          'that was never made, how long each attempt of several took (they count as equally long), what a request ' +
          'asked for itself (time, attempts, cost, caller key: the limit `caller` is left out), and how many calls ' +
          'of which process were under way (bulkhead and load shedding are left out). Jobs are not executions and ' +
          'take permits, too, that it does not count.',
        body: SimulateBody,
        response: { 200: Simulation },
      },
    },
    async ({ principal, body }) => {
      const { tenantId } = principal
      const { connector, operation } = body
      const active = await loadActiveConfig(deps.db, tenantId)
      const { edit, places } = draftOf(body, active)
      const draft = await withFaultPlaces(places, () => draftConfig(deps, tenantId, edit))
      const calls = await loggedCalls(deps.db, { tenantId, connector, operation, limit: body.last ?? LAST })
      const momentOf = (call: LoggedCall | undefined) => call && new Date(call.endedAt).toISOString()
      return {
        config_version: active.version,
        logged: calls.length,
        from: momentOf(calls[0]) ?? null,
        to: momentOf(calls.at(-1)) ?? null,
        would_have: simulate(calls, rulesIn(draft)),
        active: simulate(calls, rulesIn(active)),
      }
    },
  )
}

interface Draft {
  readonly edit: (document: ConfigDocument) => ConfigDocument
  /** Where the request has what may be at fault in the document. */
  readonly places: Readonly<Record<string, string>>
}

/** Errors: `validation_error`, `connector_not_found`, `operation_not_found`, `not_found`, `config_invalid`. */
function draftOf(body: SimulateBody, active: ActiveConfig): Draft {
  const details = NEEDED[body.as]
    .filter((field) => body[field] === undefined)
    .map((field) => ({ path: `/body/${field}`, message: `is missing: as is ${body.as}` }))
  if (details[0])
    throw new Problem('validation_error', `${details[0].path} ${details[0].message}.`, { details })
  const { policy, connector, operation } = body
  const met = connector === undefined ? undefined : active.connector(connector)
  if (met && operation !== undefined) findOperation(met.connector, operation, '/body/operation')
  if (met && body.as === 'operation') requireOperationPolicy(policy, met.policy().policy)
  const named = body.as === 'policy' ? body.name : body.as === 'workspace' ? DEFAULT_POLICY : DRAFT
  const name = named ?? DRAFT
  if (body.as === 'policy' && !memberOf(active.document, 'policies', name))
    throw new Problem('not_found', 'The active config has no such policy.', {
      details: [{ path: '/body/name', message: 'is not a policy of the active config' }],
    })
  const places = { [`/policies/${name}`]: '/body/policy' }
  const withDraft = withMember('policies', name, policy)
  const config = connector === undefined ? undefined : memberOf(active.document, 'connectors', connector)
  if (connector === undefined || config === undefined || name !== DRAFT) return { edit: withDraft, places }
  const changed =
    body.as === 'operation' && operation !== undefined
      ? { ...config, operation_policies: { ...config.operation_policies, [operation]: DRAFT } }
      : { ...config, policy: DRAFT }
  return {
    edit: (document) => withMember('connectors', connector, changed)(withDraft(document)),
    places,
  }
}

/** In the config the fault would be one of the connector, which names the draft; here it is the policy's. */
function requireOperationPolicy(policy: PolicyDocument, above: Policy): void {
  const details = checkPolicy(policy, above, 'operation').map(({ path, message }) => ({
    path: `/body/policy${path}`,
    message,
  }))
  if (details[0])
    throw new Problem('config_invalid', `${details[0].path} ${details[0].message}.`, { details })
}

/** The rules that a config has for a logged call; none when the connector or the operation is gone. */
const rulesIn =
  (config: ActiveConfig) =>
  ({ connector, operation }: LoggedCall): CallRules | undefined => {
    const found = config.connectors.get(connector)
    const { repeatable } = found?.connector.operations.get(operation) ?? {}
    if (!found || repeatable === undefined) return undefined
    return { policy: found.policy(operation).policy, connectorPolicy: found.policy().policy, repeatable }
  }
