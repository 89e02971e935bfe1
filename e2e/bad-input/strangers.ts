/** Requests that name something of another workspace, each beside the same request for something that is nowhere. */
import { newId } from '../../server/src/platform/ids.ts'
import { stripe } from '../../server/testing/webhook-samples/stripe.ts'
import { type Parts, wireOf } from './parameters.ts'
import type { Wire } from './wire.ts'
import { REASON, signedEvent, type World } from './world.ts'
import { configDocument, fullPolicy, INPUT } from './world-documents.ts'

/** The same request with two names in one place; both names have the same length. */
export interface Pair {
  readonly name: string
  readonly foreign: { readonly said: string; readonly wire: Wire }
  readonly missing: { readonly said: string; readonly wire: Wire }
}

const NAME_OF_NOTHING = 'nothing-here'

/** One pair for every path parameter of a route. */
export function pathPairs(title: string, parts: Parts, stranger: Readonly<Record<string, string>>): Pair[] {
  return Object.entries(parts.good.params ?? {}).flatMap(([parameter, own]) => {
    const foreign = stranger[parameter] ?? ''
    // The same for everybody, like the name of a queue.
    if (foreign === own) return []
    const missing = /^\d+$/.test(own) ? '999' : /^[0-9a-f-]{36}$/.test(own) ? newId() : NAME_OF_NOTHING
    const pair = (said: string) => ({ said, wire: wireOf(parts, { params: { [parameter]: said } }) })
    return [{ name: title, foreign: pair(foreign), missing: pair(missing) }]
  })
}

type Make = (said: string) => { method: string; path: string; body?: unknown }

/** Names in bodies and queries. Good requests but for that one name, which the caller's workspace does not have. */
export function referencePairs(
  world: World,
  stranger: World,
  hubUrl: string,
): Readonly<Record<'exec' | 'control' | 'ingress', readonly Pair[]>> {
  const { names } = world
  const reason = REASON
  const job = { connector: names.connector, operation: 'echo', input: INPUT }
  const pairsOf = (
    authorization: string,
    requests: Readonly<Record<string, readonly [foreign: string, make: Make]>>,
  ): Pair[] =>
    Object.entries(requests).map(([name, [foreign, make]]) => {
      const wire = (said: string): Wire => {
        const { method, path, body } = make(said)
        const headers = { authorization, ...(body !== undefined && { 'content-type': 'application/json' }) }
        return { method, path, headers, ...(body !== undefined && { body: JSON.stringify(body) }) }
      }
      const missing = /^\d+$/.test(foreign)
        ? '999'
        : /^[0-9a-f-]{36}$/.test(foreign)
          ? newId()
          : NAME_OF_NOTHING
      return {
        name,
        foreign: { said: foreign, wire: wire(foreign) },
        missing: { said: missing, wire: wire(missing) },
      }
    })

  const post = (path: string, body: unknown) => ({ method: 'POST', path, body })
  const get = (path: string) => ({ method: 'GET', path })
  const route = {
    provider: 'stripe',
    livemode: false,
    connector: names.callback,
    secret_refs: [names.spare],
    reason,
  }
  const callback = (secret: string) => ({
    kind: 'callback',
    settings: { url: hubUrl },
    secrets: { signing_secret: secret },
  })
  const document = configDocument(world, hubUrl)
  const webhook = (said: string): Wire => {
    const { bytes, headers } = signedEvent(stripe.body({ id: 'evt_stray' }), world.stripeSecret)
    return { method: 'POST', path: `/webhooks/stripe/${said}`, headers, body: bytes }
  }
  const nobody = newId()
  return {
    exec: pairsOf(world.tokens.exec, {
      'execute on a connector': [
        stranger.names.connector,
        (said) => post('/execute', { ...job, connector: said }),
      ],
      'a job on a connector': [
        stranger.names.connector,
        (said) => post('/jobs', { ...job, connector: said }),
      ],
      'a batch on a connector': [
        stranger.names.connector,
        (said) => post('/jobs/batch', { jobs: [job, { ...job, connector: said }] }),
      ],
      'a job with a callback': [
        stranger.names.callback,
        (said) => post('/jobs', { ...job, callback: { connector: said } }),
      ],
      'jobs of a connector': [stranger.names.connector, (said) => get(`/jobs?connector=${said}`)],
      'events of a connector': [stranger.names.connector, (said) => get(`/events?connector=${said}`)],
      'events of a job': [stranger.jobs[0] ?? '', (said) => get(`/events?job_id=${said}`)],
    }),
    control: pairsOf(world.tokens.control, {
      'the policy of a connector': [
        stranger.names.connector,
        (said) => get(`/policies/effective?connector=${said}`),
      ],
      'the policy of an operation of a connector': [
        stranger.names.connector,
        (said) => get(`/policies/effective?connector=${said}&operation=echo`),
      ],
      'a draft for a connector': [
        stranger.names.connector,
        (said) => post('/policies/simulate', { policy: {}, as: 'connector', connector: said }),
      ],
      'a draft for a policy': [
        stranger.names.policy,
        (said) => post('/policies/simulate', { policy: {}, as: 'policy', name: said }),
      ],
      'a version to activate': [
        String(stranger.configVersion),
        (said) => post('/configs/activate', { version: Number(said), reason }),
      ],
      'a version to compare with': [
        String(stranger.configVersion),
        (said) => get(`/configs/diff?from=${world.configVersion}&to=${said}`),
      ],
      'a secret ref in a connector': [
        stranger.names.secret,
        (said) => ({
          method: 'PUT',
          path: `/connectors/${names.callback}`,
          body: { connector: callback(said), reason },
        }),
      ],
      'a policy in a connector': [
        stranger.names.policy,
        (said) => ({
          method: 'PUT',
          path: `/connectors/${names.callback}`,
          body: { connector: { ...callback(names.secret), policy: said }, reason },
        }),
      ],
      'a secret ref in a config': [
        stranger.names.secret,
        (said) =>
          post('/configs', {
            document: {
              ...document,
              connectors: { [names.callback]: callback(said) },
              policies: { default: fullPolicy },
            },
            reason,
          }),
      ],
      'the connector of a webhook route': [
        stranger.names.callback,
        (said) => post('/webhook-routes', { ...route, connector: said }),
      ],
      'the connector of a gap check': [
        stranger.names.connector,
        (said) =>
          post('/webhook-routes', {
            ...route,
            gap_check: { connector: said, pull: 'manual', every_seconds: 600, settings: {} },
          }),
      ],
      'a secret of a webhook route': [
        stranger.names.secret,
        (said) => post('/webhook-routes', { ...route, secret_refs: [said] }),
      ],
      'jobs of a connector': [stranger.names.connector, (said) => get(`/jobs?connector=${said}`)],
      'events of a job': [stranger.jobs[0] ?? '', (said) => get(`/events?job_id=${said}`)],
      'a dead letter in a plan': [
        stranger.deadJob,
        (said) => post('/dlq/default/plans', { action: 'replay', ids: [said] }),
      ],
      'an event in a plan': [stranger.inboxId, (said) => post('/webhook-inbox/retry/plans', { ids: [said] })],
      'events that are missing of a route': [
        stranger.routeId,
        (said) => get(`/webhook-gaps?route_id=${said}`),
      ],
      'a route to check for missing events': [
        stranger.routeId,
        (said) => post('/webhook-gaps/check', { route_id: said, reason }),
      ],
      'a missing event to pull in': [
        stranger.gaps[0],
        (said) => post('/webhook-gaps/pull', { ids: [said], reason }),
      ],
      'an event to compare with': [
        stranger.inboxId,
        (said) => get(`/webhook-inbox/compare?left=${world.inboxId}&right=${said}`),
      ],
      'audit entries of an object': [
        stranger.names.secret,
        (said) => get(`/audit?object=${encodeURIComponent(`secret_ref:${said}`)}`),
      ],
    }),
    ingress: [
      {
        name: 'a webhook route',
        foreign: { said: stranger.routeId, wire: webhook(stranger.routeId) },
        missing: { said: nobody, wire: webhook(nobody) },
      },
    ],
  }
}

/** Everything by which a workspace could be known: none of it may stand in an answer to another one. */
export const marksOf = ({
  slug,
  tenantId,
  names,
  routeId,
  inboxId,
  inbox,
  quarantine,
  gaps,
  identityId,
  issuerId,
  jobs,
  deadJob,
  plans,
  suspendedId,
}: World): string[] => [
  slug,
  tenantId,
  ...Object.values(names),
  routeId,
  inboxId,
  inbox.cancelledId,
  ...inbox.retryPlans,
  ...inbox.erasePlans,
  quarantine.keptId,
  quarantine.discardId,
  ...gaps,
  identityId,
  issuerId,
  ...jobs,
  deadJob,
  ...plans,
  suspendedId,
]
