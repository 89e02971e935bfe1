import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Problem } from '../../problems.ts'
import { authorOf, Reason } from '../audit/audit.ts'
import {
  type ConfigDeps,
  DEFAULT_POLICY,
  editConfig,
  etagOf,
  IfMatchHeaders,
  loadActiveConfig,
  memberOf,
  pageOfMembers,
  readActive,
  targetOf,
  withFaultPlaces,
  withMember,
  withoutMember,
} from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import { effectivePolicy, PolicyDocument } from './policies.ts'
import { simulateRoute } from './simulate-route.ts'

const read = { access: { permission: 'configs.read' } } as const
const write = { access: { permission: 'configs.write' } } as const
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
const ListQuery = Type.Object(PageQuery, { additionalProperties: false })
const PolicyPage = Type.Object({
  ...Page(NamedPolicy).properties,
  system: Type.Unknown({ description: 'What applies where no policy says otherwise.' }),
})
const EffectiveQuery = Type.Object(
  {
    connector: Type.String({ maxLength: 63, description: 'Connector of the active config.' }),
    operation: Type.Optional(
      Type.String({
        maxLength: 200,
        description: 'Operation of the connector; absent = those without a policy of their own.',
      }),
    ),
  },
  { additionalProperties: false },
)
const Effective = Type.Object({
  connector: Type.String({ description: 'The connector that was asked about.' }),
  operation: Type.Union([Type.String(), Type.Null()], { description: 'The operation that was asked about.' }),
  config_version: Type.Integer({ description: 'The active config version.' }),
  policy: Type.Unknown({ description: 'The policy with every value decided.' }),
  sources: Type.Record(Type.String(), Type.String(), {
    description:
      'Where each value came from, by its dotted name: system, kind, workspace, connector, operation.',
  }),
})

const absent = () => new Problem('not_found', 'The active config has no such policy.')

/** Policies of the active config. Every write makes a new config version and activates it. */
export function policiesControl(app: HttpServer, deps: ConfigDeps): void {
  simulateRoute(app, deps)

  app.get(
    '/policies',
    {
      config: read,
      schema: {
        operationId: 'listPolicies',
        tags,
        summary: 'List the policies of the active config, by name; its version is the ETag',
        querystring: ListQuery,
        response: { 200: PolicyPage },
      },
    },
    async ({ principal, query }, reply) => {
      const { version, document } = await readActive(deps.db, principal.tenantId)
      const page = { cursor: query.cursor, limit: query.limit ?? 50 }
      const policies = pageOfMembers(document, 'policies', page, (name, policy) => ({ name, policy }))
      reply.header('etag', etagOf(version))
      return { ...policies, system: effectivePolicy({}).policy }
    },
  )

  app.get(
    '/policies/effective',
    {
      config: read,
      schema: {
        operationId: 'getEffectivePolicy',
        tags,
        summary: 'The policy in force for a connector or an operation, and where each value came from',
        querystring: EffectiveQuery,
        response: { 200: Effective },
      },
    },
    async ({ principal, query }) => {
      const config = await loadActiveConfig(deps.db, principal.tenantId)
      const active = config.connector(query.connector, '/query/connector')
      const { operation } = query
      if (operation !== undefined) findOperation(active.connector, operation, '/query/operation')
      return {
        connector: query.connector,
        operation: operation ?? null,
        config_version: active.configVersion,
        ...active.policy(operation),
      }
    },
  )

  app.get(
    '/policies/:name',
    {
      config: read,
      schema: {
        operationId: 'getPolicy',
        tags,
        summary: 'Read one policy; the version of the config is the ETag',
        params: Params,
        response: { 200: NamedPolicy },
      },
    },
    async ({ principal, params: { name } }, reply) => {
      const { version, document } = await readActive(deps.db, principal.tenantId)
      const policy = memberOf(document, 'policies', name)
      if (!policy) throw absent()
      reply.header('etag', etagOf(version))
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
    async (request, reply) => {
      const { principal, call, params, body } = request
      const change = { ...authorOf(principal), reason: body.reason, call }
      const edit = withMember('policies', params.name, body.policy)
      const { version } = await withFaultPlaces({ [`/policies/${params.name}`]: '/body/policy' }, () =>
        editConfig(deps, targetOf(request), `policy:${params.name}`, edit, change),
      )
      reply.header('etag', etagOf(version))
      return { name: params.name, policy: body.policy, config_version: version }
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
    async (request, reply) => {
      const { principal, call, params, query } = request
      const change = { ...authorOf(principal), reason: query.reason, call }
      const edit = withoutMember('policies', params.name, absent)
      const { version } = await withFaultPlaces({}, () =>
        editConfig(deps, targetOf(request), `policy:${params.name}`, edit, change),
      )
      return reply.code(204).header('etag', etagOf(version)).send(null)
    },
  )
}
