/** Requests that fit their schemas and still mean nothing: names that are nowhere, values that contradict each other. */
import { onBundles } from './bundle-meanings.ts'
import type { Case } from './case.ts'
import type { ServerName } from './hub.ts'
import { onInbox } from './inbox-meanings.ts'
import type { BadRequest } from './parameters.ts'
import { onRoutes } from './route-meanings.ts'
import { onWorkspaces } from './workspace-meanings.ts'
import { json, REASON, type World } from './world.ts'
import { configDocument, fullPolicy, httpConnector, INPUT } from './world-documents.ts'

const reason = REASON
const DAY_MS = 86_400_000

const invalid = (path: string, name: string, body: unknown, at: string): Case => [
  name,
  'POST',
  path,
  body,
  'validation_error',
  at,
]
const absent = (path: string, name: string, body: unknown, what: 'connector' | 'operation'): Case => [
  name,
  'POST',
  path,
  body,
  `${what}_not_found`,
]
const unfit = (path: string, name: string, body: unknown): Case => [
  name,
  'POST',
  path,
  body,
  'input_invalid',
  '/body/input/note',
]

function onExec({ names }: World): Case[] {
  const job = { connector: names.connector, operation: 'echo', input: INPUT }
  const far = new Date(Date.now() + 31 * DAY_MS).toISOString()
  const never = '2015-12-31T23:59:60Z'
  const slow = { timeout_ms: fullPolicy.timeouts.total_ms + 1 }
  const callback = { connector: names.connector }
  const at = '/body/options/timeout_ms'
  return [
    ...['/execute', '/jobs'].flatMap((path) => [
      absent(path, 'an unknown connector', { ...job, connector: 'nobody' }, 'connector'),
      absent(path, 'a connector of every object', { ...job, connector: 'constructor' }, 'connector'),
      absent(path, 'an unknown operation', { ...job, operation: 'nothing' }, 'operation'),
      absent(path, 'an operation of every object', { ...job, operation: 'constructor' }, 'operation'),
      unfit(path, 'an input without its field', { ...job, input: {} }),
      unfit(path, 'an input of the wrong type', { ...job, input: { note: 1 } }),
    ]),
    ['more time than the policy has', 'POST', '/execute', { ...job, options: slow }, 'policy_violation', at],
    ...Object.entries({ max_attempts: 3, priority: 'critical' }).map(
      ([field, value]): Case => [
        `more ${field} than the policy grants`,
        'POST',
        '/execute',
        { ...job, options: { [field]: value } },
        'policy_violation',
        `/body/options/${field}`,
      ],
    ),
    invalid('/jobs', 'a time too far away', { ...job, run_at: far }, '/body/run_at'),
    invalid('/jobs', 'a moment that was never', { ...job, run_at: never }, '/body/run_at'),
    invalid('/jobs', 'a callback to an API', { ...job, callback }, '/body/callback/connector'),
    invalid('/jobs/batch', 'one of three', { jobs: [job, { ...job, operation: 'no' }, job] }, '/body/jobs/1'),
    invalid('/jobs/batch', 'the last of two', { jobs: [job, { ...job, input: 1 }] }, '/body/jobs/1/input'),
  ]
}

function onConfigs(world: World, hubUrl: string): Case[] {
  const { names } = world
  const path = `/connectors/${names.connector}`
  const good = httpConnector(hubUrl, names.policy, names.secret)
  const at = '/body/connector'
  const put = (name: string, connector: object, where: string): Case => [
    name,
    'PUT',
    path,
    { connector, reason },
    'config_invalid',
    where,
  ]
  const to = (base_url: string) => ({ ...good, settings: { ...good.settings, base_url } })
  const document = configDocument(world, hubUrl)
  const policy = { timeouts: { attempt_ms: 5_000, total_ms: 1_000 } }
  return [
    put('an unknown kind', { ...good, kind: 'constructor' }, `${at}/kind`),
    put('an unknown policy', { ...good, policy: 'constructor' }, `${at}/policy`),
    put('an unknown secret ref', { ...good, secrets: { token: 'constructor' } }, `${at}/secrets/token`),
    put(
      'an unknown secret',
      { ...good, secrets: { ...good.secrets, constructor: names.secret } },
      `${at}/secrets/constructor`,
    ),
    put('the metadata address', to('http://169.254.169.254/latest'), `${at}/settings/base_url`),
    put('credentials in a URL', to('https://user:password@example.com'), `${at}/settings/base_url`),
    put('no URL', to('https://'), `${at}/settings/base_url`),
    ['a reserved name', 'PUT', '/connectors/kinds', { connector: good, reason }, 'config_invalid', at],
    [
      'a policy against itself',
      'PUT',
      `/policies/${names.policy}`,
      { policy, reason },
      'config_invalid',
      '/body/policy/timeouts/attempt_ms',
    ],
    ...(
      [
        [
          'a limit of the workspace elsewhere',
          { rate_limits: { workspace: { permits: 1 } } },
          'rate_limits/workspace',
        ],
        [
          'a cost that no burst holds',
          { rate_limits: { connector: { permits: 1 }, cost: 2 } },
          'rate_limits/connector/burst',
        ],
        ['a wait beyond the total', { bulkhead: { wait_ms: 9_000 } }, 'bulkhead/wait_ms'],
        ['a static answer that is missing', { fallback: { type: 'static' } }, 'fallback/output'],
        ['a breaker beyond its cap', { breaker: { open_ms: 900_000 } }, 'breaker/open_ms'],
      ] as const
    ).map(
      ([name, contradiction, where]): Case => [
        name,
        'PUT',
        `/policies/${names.policy}`,
        { policy: contradiction, reason },
        'config_invalid',
        `/body/policy/${where}`,
      ],
    ),
    put(
      'a policy for an operation that is not there',
      { ...good, operation_policies: { constructor: names.policy } },
      `${at}/operation_policies/constructor`,
    ),
    put(
      'a policy of the connector for an operation',
      { ...good, operation_policies: { echo: names.policy } },
      `${at}/operation_policies/echo`,
    ),
    [
      'a draft against itself',
      'POST',
      '/policies/simulate',
      { policy, as: 'connector', connector: names.connector },
      'config_invalid',
      '/body/policy/timeouts/attempt_ms',
    ],
    invalid(
      '/policies/simulate',
      'a draft that stands nowhere',
      { policy: {}, as: 'operation' },
      '/body/connector',
    ),
    absent(
      '/policies/simulate',
      'a draft for nobody',
      { policy: {}, as: 'connector', connector: 'nobody' },
      'connector',
    ),
    [
      'a policy that is in use',
      'DELETE',
      `/policies/${names.policy}?reason=x`,
      undefined,
      'config_invalid',
      `/document/connectors/${names.connector}/policy`,
    ],
    [
      'a connector that is in use',
      'DELETE',
      `/connectors/${names.callback}?reason=x`,
      undefined,
      'config_invalid',
      `/document/connectors/${names.callback}`,
    ],
    [
      'a config that contradicts itself',
      'POST',
      '/configs',
      { document: { ...document, policies: { bad: policy } }, reason },
      'config_invalid',
      '/body/document/policies/bad/timeouts/attempt_ms',
    ],
    [
      'a config that is nowhere',
      'POST',
      '/configs/activate',
      { version: 2_147_483_647, reason },
      'not_found',
    ],
  ]
}

function onControl(world: World): Case[] {
  const { names, slug, deadJob, identityId } = world
  const { connector, callback, secret, spare } = names
  const route = { provider: 'stripe', livemode: false, connector: callback, secret_refs: [spare], reason }
  const [routes, plans] = ['/webhook-routes', '/dlq/default/plans']
  const [when, never] = ['2030-01-01T00:00:00Z', '2015-12-31T23:59:60Z']
  const [ids, filter] = [[deadJob], { dead_before: when }]
  const taken = { name: `svc:of-${slug.replace(/-dev$/, '')}`, scopes: ['orchestrator.execute'], reason }
  const idp = {
    ...{ name: 'idp', issuer: 'https://idp.test/', jwks_url: 'https://idp.test/jwks.json' },
    ...{ scopes: ['orchestrator.execute'], reason },
  }
  const conflict = (path: string, name: string, body: unknown, at?: string): Case =>
    at === undefined ? [name, 'POST', path, body, 'conflict'] : [name, 'POST', path, body, 'conflict', at]
  const put = (name: string, ref: string, at: string): Case => {
    return [`${name} as ${ref}`, 'PUT', `/secret-refs/${name}`, { ref, reason }, 'validation_error', at]
  }
  const value = (name: string) => `/secret-refs/${name}/value`
  return [
    ...onWorkspaces(world),
    conflict('/identities', 'a name that is taken', taken),
    invalid(
      `/identities/${identityId}/rotate-secret`,
      'tokens that end while their secret goes on',
      { overlap_seconds: 60, end_tokens: true, reason },
      '/body/end_tokens',
    ),
    invalid('/trusted-issuers', 'the hub itself', { ...idp, issuer: 'orchestrator' }, '/body/issuer'),
    invalid(
      '/trusted-issuers',
      'a metadata address',
      { ...idp, jwks_url: 'https://169.254.169.254/latest' },
      '/body/jwks_url',
    ),
    put(spare, 'file://../../../etc/passwd', '/body/ref'),
    put(spare, 'file:///etc/passwd', '/body/ref'),
    put(spare, 'env://PATH/../x', '/body/ref'),
    put(spare, 'env://', '/body/ref'),
    put('health', 'env://A', '/path/name'),
    put(spare, `store://${secret}`, '/body/ref'),
    put(spare, 'vault://kv/../x#key', '/body/ref'),
    put(spare, 'sk_live_51HxYzAbCdEfGh', '/body/ref'),
    [
      'a ref as a value',
      'PUT',
      value(spare),
      { value: 'env://A', reason },
      'validation_error',
      '/body/value',
    ],
    ['half a character', 'PUT', value(spare), { value: '\ud800', reason }, 'malformed_body'],
    ['a value of nobody', 'PUT', value('health'), { value: 'v', reason }, 'validation_error', '/path/name'],
    conflict(`/secret-refs/${secret}/revert`, 'what was not rotated', { reason }),
    ['a version of nobody', 'DELETE', `/secret-refs/${spare}/versions/99?reason=x`, undefined, 'not_found'],
    ['a secret in use', 'DELETE', `/secret-refs/${secret}?reason=x`, undefined, 'conflict'],
    invalid(routes, 'no provider', { ...route, provider: 'constructor' }, '/body/provider'),
    invalid(routes, 'live events in dev', { ...route, livemode: true }, '/body/livemode'),
    invalid(routes, 'a route to an API', { ...route, connector }, '/body/connector'),
    conflict(routes, 'the secret of another route', { ...route, secret_refs: [secret] }),
    ...onRoutes(world, route),
    invalid(plans, 'ids and a filter', { action: 'purge', ids, filter }, '/body'),
    invalid(plans, 'neither ids nor a filter', { action: 'purge' }, '/body'),
    invalid(plans, 'a stray rate', { action: 'purge', ids, rate_per_second: 1 }, '/body/rate_per_second'),
    invalid(plans, 'never', { action: 'purge', filter: { dead_before: never } }, '/body/filter/dead_before'),
    ['no job', 'POST', plans, { action: 'replay', ids: [identityId] }, 'not_found', '/body/ids/0'],
    conflict('/dlq/low/plans', 'a letter of another queue', { action: 'replay', ids }, '/body/ids/0'),
    conflict(plans, 'a letter that is in no bin', { action: 'restore', ids }, '/body/ids/0'),
    ...onInbox(world),
  ]
}

export function meaningless(server: ServerName, world: World, hubUrl: string): BadRequest[] {
  const cases =
    server === 'exec'
      ? onExec(world)
      : server === 'control'
        ? [...onConfigs(world, hubUrl), ...onControl(world), ...onBundles(world, hubUrl)]
        : []
  return cases.map(([name, method, path, body, code, at]) => {
    const isPlatform = path.startsWith('/workspaces')
    const token = server === 'exec' ? world.tokens.exec : isPlatform ? world.admin : world.tokens.control
    return { name, wire: json(method, path, token, body), codes: [code], ...(at !== undefined && { at }) }
  })
}
