import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Problem } from '../../problems.ts'
import { authorOf, Reason } from '../audit/audit.ts'
import {
  type ConfigDeps,
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
import { ConnectorConfig, KindDescription, NAME_PATTERN, OperationDescription } from './connectors.schema.ts'
import { describeOperations, listKinds } from './connectors.ts'

const read = { access: { permission: 'configs.read' } } as const
const write = { access: { permission: 'configs.write' } } as const
const tags = ['connectors']

const ConnectorName = Type.String({
  pattern: NAME_PATTERN,
  maxLength: 63,
  description: 'Name of the connector.',
})
const Params = Type.Object({ name: ConnectorName })
const NamedConnector = Type.Object({ name: ConnectorName, connector: ConnectorConfig })
const WithOperations = Type.Object({
  ...NamedConnector.properties,
  operations: Type.Array(OperationDescription, { description: 'What the connector can do.' }),
})
const Changed = Type.Object({
  ...NamedConnector.properties,
  config_version: Type.Integer({ description: 'The version that is active now.' }),
})
const PutBody = Type.Object({ connector: ConnectorConfig, reason: Reason }, { additionalProperties: false })
const ListQuery = Type.Object(PageQuery, { additionalProperties: false })
const ReasonQuery = Type.Object({ reason: Reason }, { additionalProperties: false })

const absent = () => new Problem('not_found', 'The active config has no such connector.')

/** Connectors of the active config. Every write makes a new config version and activates it. */
export function connectorsControl(app: HttpServer, deps: ConfigDeps): void {
  app.get(
    '/connectors',
    {
      config: read,
      schema: {
        operationId: 'listConnectors',
        tags,
        summary: 'List the connectors of the active config, by name; its version is the ETag',
        querystring: ListQuery,
        response: { 200: Page(NamedConnector) },
      },
    },
    async ({ principal, query }, reply) => {
      const { version, document } = await readActive(deps.db, principal.tenantId)
      const page = { cursor: query.cursor, limit: query.limit ?? 50 }
      reply.header('etag', etagOf(version))
      return pageOfMembers(document, 'connectors', page, (name, connector) => ({ name, connector }))
    },
  )

  app.get(
    '/connectors/kinds',
    {
      config: read,
      schema: {
        operationId: 'listConnectorKinds',
        tags,
        summary: 'The connector kinds of this hub, with the schemas of their settings and secrets',
        response: { 200: Type.Object({ data: Type.Array(KindDescription, { description: 'By name.' }) }) },
      },
    },
    async () => ({ data: [...listKinds()] }),
  )

  app.get(
    '/connectors/:name',
    {
      config: read,
      schema: {
        operationId: 'getConnector',
        tags,
        summary: 'Read one connector with its operations; the version of the config is the ETag',
        params: Params,
        response: { 200: WithOperations },
      },
    },
    async ({ principal, params: { name } }, reply) => {
      const config = await loadActiveConfig(deps.db, principal.tenantId)
      const connector = memberOf(config.document, 'connectors', name)
      if (!connector) throw absent()
      reply.header('etag', etagOf(config.version))
      return { name, connector, operations: describeOperations(config.connector(name).connector) }
    },
  )

  app.put(
    '/connectors/:name',
    {
      config: write,
      schema: {
        operationId: 'putConnector',
        tags,
        summary: 'Create or replace a connector',
        params: Params,
        headers: IfMatchHeaders,
        body: PutBody,
        response: { 200: Changed },
      },
    },
    async (request, reply) => {
      const { principal, call, params, body } = request
      const change = { ...authorOf(principal), reason: body.reason, call }
      const edit = withMember('connectors', params.name, body.connector)
      const { version } = await withFaultPlaces({ [`/connectors/${params.name}`]: '/body/connector' }, () =>
        editConfig(deps, targetOf(request), `connector:${params.name}`, edit, change),
      )
      reply.header('etag', etagOf(version))
      return { name: params.name, connector: body.connector, config_version: version }
    },
  )

  app.delete(
    '/connectors/:name',
    {
      config: write,
      schema: {
        operationId: 'deleteConnector',
        tags,
        summary: 'Remove a connector; jobs that still wait for it become dead letters',
        params: Params,
        headers: IfMatchHeaders,
        querystring: ReasonQuery,
        response: { 204: Type.Null() },
      },
    },
    async (request, reply) => {
      const { principal, call, params, query } = request
      const change = { ...authorOf(principal), reason: query.reason, call }
      const edit = withoutMember('connectors', params.name, absent)
      const { version } = await withFaultPlaces({}, () =>
        editConfig(deps, targetOf(request), `connector:${params.name}`, edit, change),
      )
      return reply.code(204).header('etag', etagOf(version)).send(null)
    },
  )
}
