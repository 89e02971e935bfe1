import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { Reason } from '../audit/audit.ts'
import {
  type ConfigDeps,
  draftConfig,
  loadActiveConfig,
  memberOf,
  withFaultPlaces,
  withMember,
} from '../configs/configs.ts'
import { ConnectorConfig, NAME_PATTERN } from './connectors.schema.ts'
import { compileConnector } from './connectors.ts'
import { type TestDeps, type TestResult, testConnector } from './test-connector.ts'

// A test sends the connector's secrets to where the connector points: who may not change it may not send them.
const config = { access: { permission: 'connectors.test' } } as const
const tags = ['connectors']
/** Where a draft stands in the config that would come of it. */
const DRAFT = 'draft-under-test'

const Params = Type.Object({
  name: Type.String({ pattern: NAME_PATTERN, maxLength: 63, description: 'Name of the connector.' }),
})
const TestBody = Type.Object({ reason: Type.Optional(Reason) }, { additionalProperties: false })
const DraftBody = Type.Object(
  { connector: ConnectorConfig, reason: Type.Optional(Reason) },
  { additionalProperties: false },
)
const Tested = Type.Object(
  {
    healthy: Type.Boolean({
      description: 'The upstream can be reached and takes the secrets, as far as it lets us know.',
    }),
    message: Type.String({ description: 'What was tried and what came of it, for people.' }),
    latency_ms: Type.Integer({ description: 'How long it took.' }),
    details: Type.Record(Type.String(), Type.Unknown(), { description: 'More, depending on the kind.' }),
  },
  { additionalProperties: false },
)

const answerOf = ({ healthy, message, latencyMs, details = {} }: TestResult) => ({
  healthy,
  message,
  latency_ms: latencyMs,
  details: { ...details },
})

/** Calls upstreams on behalf of people who set connectors up. */
export function testConnectorControl(app: HttpServer, deps: TestDeps & ConfigDeps): void {
  app.post(
    '/connectors/:name/test',
    {
      config,
      schema: {
        operationId: 'testConnector',
        tags,
        summary: 'Call the upstream of a connector once, harmlessly; unhealthy is a 200, too',
        params: Params,
        body: TestBody,
        response: { 200: Tested },
      },
    },
    async ({ principal, call, params, body }) => {
      const active = await loadActiveConfig(deps.db, principal.tenantId)
      if (!memberOf(active.document, 'connectors', params.name))
        throw new Problem('not_found', 'The active config has no such connector.')
      const { connector } = active.connector(params.name, '/path/name')
      const { tenantId, subject: actor } = principal
      return answerOf(
        await testConnector(deps, { tenantId, connector, draft: false, actor, reason: body.reason, call }),
      )
    },
  )

  app.post(
    '/connectors/test',
    {
      config,
      schema: {
        operationId: 'testConnectorDraft',
        tags,
        summary: 'Check a connector that is not stored yet, and call its upstream once, harmlessly',
        body: DraftBody,
        response: { 200: Tested },
      },
    },
    async ({ principal, call, body }) => {
      const { tenantId, subject: actor } = principal
      await withFaultPlaces({ [`/connectors/${DRAFT}`]: '/body/connector' }, () =>
        draftConfig(deps, tenantId, withMember('connectors', DRAFT, body.connector)),
      )
      const connector = compileConnector({ name: DRAFT, lane: 0, config: body.connector })
      return answerOf(
        await testConnector(deps, { tenantId, connector, draft: true, actor, reason: body.reason, call }),
      )
    },
  )
}
