import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { Reason } from '../audit/audit.ts'
import {
  type ActiveConfigs,
  activeDocument,
  type ConfigDeps,
  DEFAULT_POLICY,
  editConfig,
  IfMatchHeaders,
  versionOf,
} from '../configs/configs.ts'
import { effectivePolicy, PolicyDocument } from './policies.ts'

const read = { access: { scope: 'orchestrator.control.read' } } as const
const write = { access: { scope: 'orchestrator.control.write' } } as const
const tags = ['policies']

const PolicyName = Type.String({
  pattern: '^[a-z0-9]+(-[a-z0-9]+)*$',
  maxLength: 63,
  description: 'Name of the policy.',
})
const Params = Type.Object({ name: PolicyName })
const NamedPolicy = Type.Object({ name: PolicyName, policy: PolicyDocument })
const Changed = Type.Object({
  ...NamedPolicy.properties,
  config_version: Type.Integer({ description: 'The version that is active now.' }),
})
const PutBody = Type.Object({ policy: PolicyDocument, reason: Reason }, { additionalProperties: false })
const ReasonQuery = Type.Object({ reason: Reason }, { additionalProperties: false })
const EffectiveQuery = Type.Object(
  { connector: Type.String({ maxLength: 63, description: 'Connector of the active config.' }) },
  { additionalProperties: false },
)
const Effective = Type.Object({
  connector: Type.String(),
  config_version: Type.Integer(),
  policy: Type.Unknown({ description: 'The policy with every value decided.' }),
  sources: Type.Record(Type.String(), Type.String(), {
    description: 'Where each value came from: system, kind, workspace, connector.',
  }),
})

const absent = () => new Problem('not_found', 'The active config has no such policy.')

/** Policies of the active config. Every write makes a new config version and activates it. */
export function policiesControl(
  app: HttpServer,
  deps: ConfigDeps & { readonly activeConfigs: ActiveConfigs },
): void {
  app.get(
    '/policies',
    {
      config: read,
      schema: {
        operationId: 'listPolicies',
        tags,
        summary: 'List the policies of the active config, by name',
        response: {
          200: Type.Object({
            data: Type.Array(NamedPolicy),
            system: Type.Unknown({ description: 'What applies where no policy says otherwise.' }),
          }),
        },
      },
    },
    async ({ principal }) => {
      const { policies } = await activeDocument(deps.db, principal.tenantId)
      const data = Object.entries(policies).map(([name, policy]) => ({ name, policy }))
      return { data, system: effectivePolicy({}).policy }
    },
  )

  app.get(
    '/policies/effective',
    {
      config: read,
      schema: {
        operationId: 'getEffectivePolicy',
        tags,
        summary: 'The policy in force for a connector, and where each value came from',
        querystring: EffectiveQuery,
        response: { 200: Effective },
      },
    },
    async ({ principal, query }) => {
      const active = await deps.activeConfigs.connector(principal.tenantId, query.connector)
      return { connector: query.connector, config_version: active.configVersion, ...active.policy() }
    },
  )

  app.get(
    '/policies/:name',
    {
      config: read,
      schema: {
        operationId: 'getPolicy',
        tags,
        summary: 'Read one policy',
        params: Params,
        response: { 200: NamedPolicy },
      },
    },
    async ({ principal, params: { name } }) => {
      const policy = (await activeDocument(deps.db, principal.tenantId)).policies[name]
      if (!policy) throw absent()
      return { name, policy }
    },
  )

  app.put(
    '/policies/:name',
    {
      config: write,
      schema: {
        operationId: 'putPolicy',
        tags,
        summary: `Create or replace a policy; \`${DEFAULT_POLICY}\` is inherited by every connector`,
        params: Params,
        headers: IfMatchHeaders,
        body: PutBody,
        response: { 200: Changed },
      },
    },
    async ({ principal, call, params: { name }, body, headers }) => {
      const target = { tenantId: principal.tenantId, ifMatch: versionOf(headers['if-match']) }
      const change = { actor: principal.subject, reason: body.reason, call }
      const edit = await editConfig(
        deps,
        target,
        `policy:${name}`,
        (document) => ({ ...document, policies: { ...document.policies, [name]: body.policy } }),
        change,
      )
      return { name, policy: body.policy, config_version: edit.version }
    },
  )

  app.delete(
    '/policies/:name',
    {
      config: write,
      schema: {
        operationId: 'deletePolicy',
        tags,
        summary: 'Remove a policy; refused while a connector names it',
        params: Params,
        headers: IfMatchHeaders,
        querystring: ReasonQuery,
        response: { 204: Type.Null() },
      },
    },
    async ({ principal, call, params: { name }, query, headers }, reply) => {
      const target = { tenantId: principal.tenantId, ifMatch: versionOf(headers['if-match']) }
      const change = { actor: principal.subject, reason: query.reason, call }
      await editConfig(
        deps,
        target,
        `policy:${name}`,
        (document) => {
          if (!Object.hasOwn(document.policies, name)) throw absent()
          const { [name]: _removed, ...policies } = document.policies
          return { ...document, policies }
        },
        change,
      )
      return reply.code(204).send(null)
    },
  )
}
