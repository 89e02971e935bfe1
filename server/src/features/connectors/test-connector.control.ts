import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { Reason } from '../audit/audit.ts'
import { type ConfigDeps, loadActiveConfig } from '../configs/configs.ts'
import { ConnectorConfig, NAME_PATTERN } from './connectors.schema.ts'
import { checkConnector, compileConnector } from './connectors.ts'
import { type TestDeps, type TestResult, testConnector } from './test-connector.ts'

// A test sends the connector's secrets to where the connector points: who may not change it may not send them.
const config = { access: { scope: 'orchestrator.control.write' } } as const
const tags = ['connectors']

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
export function testConnectorControl(
  app: HttpServer,
  deps: TestDeps & Pick<ConfigDeps, 'secretNames' | 'refusal'>,
): void {
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
      const faults = await draftFaults(deps, tenantId, body.connector)
      if (faults.length > 0) throw invalid(faults)
      const connector = compileConnector({ name: 'draft', lane: 0, config: body.connector })
      return answerOf(
        await testConnector(deps, { tenantId, connector, draft: true, actor, reason: body.reason, call }),
      )
    },
  )
}

async function draftFaults(
  { db, secretNames, refusal }: TestDeps & Pick<ConfigDeps, 'secretNames' | 'refusal'>,
  tenantId: string,
  connector: ConnectorConfig,
): Promise<ProblemDetail[]> {
  const faults = checkConnector('draft', connector, refusal ? { refusal } : {})
  const known = await secretNames(db, tenantId)
  for (const [secret, ref] of Object.entries(connector.secrets ?? {}))
    if (!known.has(ref))
      faults.push({ path: `/secrets/${pointerPart(secret)}`, message: `there is no secret ref ${ref}` })
  return faults
}

function invalid(faults: readonly ProblemDetail[]): Problem {
  const details = faults.map(({ path, message }) => ({ path: `/body/connector${path}`, message }))
  const [first] = details
  return new Problem('config_invalid', `${first?.path} ${first?.message}.`, { details })
}
