import type { Schema } from './wire.ts'
import { REASON, type World } from './world.ts'
import {
  configDocument,
  fullPolicy,
  httpConnector,
  tabledPolicy,
  workspacePolicy,
} from './world-documents.ts'

const FREE_IN_OPERATION = ['input', 'output', 'query', 'headers', 'body', 'response']
/** They exclude what stands in the good connector; the tests of the kind spoil them. */
const OTHER_AUTH = ['parameter', 'username', 'hmac', 'oauth2']
const FOR_OTHER_OPERATIONS = ['body_type', 'pagination']
export const openParts = (connector: string): string[] => [
  `${connector}/settings/headers`,
  ...OTHER_AUTH.map((part) => `${connector}/settings/auth/${part}`),
  ...FOR_OTHER_OPERATIONS.map((part) => `${connector}/settings/operations/echo/${part}`),
  ...FREE_IN_OPERATION.map((part) => `${connector}/settings/operations/echo/${part}`),
]

/** Good requests that read, check and simulate configs, policies and connectors, or store without a visible change. */
export function configRequests(world: World, hubUrl: string, settings: Schema) {
  const { names } = world
  const reason = { reason: REASON }
  const version = String(world.configVersion)
  const ifMatch = { 'if-match': `"${version}"` }
  const connector = httpConnector(hubUrl, names.policy, names.secret)
  const inConfig = `/document/connectors/${names.connector}`
  return {
    listConfigs: { query: { limit: '10' } },
    storeConfig: {
      headers: ifMatch,
      body: { document: configDocument(world, hubUrl), ...reason },
      refine: { [`${inConfig}/settings`]: settings },
      open: [
        ...openParts(inConfig),
        `/document/connectors/${names.callback}`,
        `/document/connectors/${names.spare}`,
      ],
    },
    getActiveConfig: {},
    activateConfig: { headers: ifMatch, body: { version: world.configVersion, ...reason } },
    // What the kind has to say about a connector is the answer of a dry run, not a refusal.
    validateConfig: {
      body: { document: configDocument(world, hubUrl) },
      otherBody: { version: world.configVersion },
      open: Object.values(names).map((name) => `/document/connectors/${name}`),
    },
    getBlastRadius: { query: { version } },
    diffConfigs: { query: { from: version, to: version } },
    getConfig: { params: { version } },
    listPolicies: {},
    getEffectivePolicy: { query: { connector: names.connector, operation: 'echo' } },
    simulatePolicy: {
      body: { policy: fullPolicy, as: 'connector', connector: names.connector, operation: 'echo', last: 10 },
      otherBody: { policy: { ...workspacePolicy, ...tabledPolicy }, as: 'policy', name: 'default' },
    },
    getPolicy: { params: { name: names.policy } },
    listConnectors: {},
    listConnectorKinds: {},
    getConnector: { params: { name: names.connector } },
    testConnector: { params: { name: names.connector }, body: reason },
    testConnectorDraft: {
      body: { connector, ...reason },
      refine: { '/connector/settings': settings },
      open: openParts('/connector'),
    },
  }
}
