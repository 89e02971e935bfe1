import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { Reason } from '../audit/audit.ts'
import {
  type ActiveConfigs,
  activeDocument,
  type ConfigDeps,
  editConfig,
  IfMatchHeaders,
  versionOf,
} from '../configs/configs.ts'
import { ConnectorConfig, KindDescription, OperationDescription } from './connectors.schema.ts'
import { describeOperations, listKinds } from './connectors.ts'

const read = { access: { scope: 'orchestrator.control.read' } } as const
const write = { access: { scope: 'orchestrator.control.write' } } as const
const tags = ['connectors']

const ConnectorName = Type.String({
  pattern: '^[a-z0-9]+(-[a-z0-9]+)*$',
  maxLength: 63,
  description: 'Name of the connector.',
})
const Params = Type.Object({ name: ConnectorName })
const NamedConnector = Type.Object({ name: ConnectorName, connector: ConnectorConfig })
const WithOperations = Type.Object({
  ...NamedConnector.properties,
  operations: Type.Array(OperationDescription),
})
const Changed = Type.Object({
  ...NamedConnector.properties,
  config_version: Type.Integer({ description: 'The version that is active now.' }),
})
const PutBody = Type.Object({ connector: ConnectorConfig, reason: Reason }, { additionalProperties: false })
const ReasonQuery = Type.Object({ reason: Reason }, { additionalProperties: false })

const absent = () => new Problem('not_found', 'The active config has no such connector.')

/** Connectors of the active config. Every write makes a new config version and activates it. */
export function connectorsControl(
  app: HttpServer,
  deps: ConfigDeps & { readonly activeConfigs: ActiveConfigs },
): void {
  app.get(
    '/connectors',
    {
      config: read,
      schema: {
        operationId: 'listConnectors',
        tags,
        summary: 'List the connectors of the active config, by name',
        response: { 200: Type.Object({ data: Type.Array(NamedConnector) }) },
      },
    },
    async ({ principal }) => {
      const { connectors } = await activeDocument(deps.db, principal.tenantId)
      return { data: Object.entries(connectors).map(([name, connector]) => ({ name, connector })) }
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
        response: { 200: Type.Object({ data: Type.Array(KindDescription) }) },
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
        summary: 'Read one connector with its operations',
        params: Params,
        response: { 200: WithOperations },
      },
    },
    async ({ principal, params: { name } }) => {
      const connector = (await activeDocument(deps.db, principal.tenantId)).connectors[name]
      if (!connector) throw absent()
      const active = await deps.activeConfigs.connector(principal.tenantId, name)
      return { name, connector, operations: [...describeOperations(active.connector)] }
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
    async ({ principal, call, params: { name }, body, headers }) => {
      const target = { tenantId: principal.tenantId, ifMatch: versionOf(headers['if-match']) }
      const change = { actor: principal.subject, reason: body.reason, call }
      const edit = await editConfig(
        deps,
        target,
        `connector:${name}`,
        (document) => ({ ...document, connectors: { ...document.connectors, [name]: body.connector } }),
        change,
      )
      return { name, connector: body.connector, config_version: edit.version }
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
    async ({ principal, call, params: { name }, query, headers }, reply) => {
      const target = { tenantId: principal.tenantId, ifMatch: versionOf(headers['if-match']) }
      const change = { actor: principal.subject, reason: query.reason, call }
      await editConfig(
        deps,
        target,
        `connector:${name}`,
        (document) => {
          if (!Object.hasOwn(document.connectors, name)) throw absent()
          const { [name]: _removed, ...connectors } = document.connectors
          return { ...document, connectors }
        },
        change,
      )
      return reply.code(204).send(null)
    },
  )
}
