/** A workspace with one object of every kind, made through the API like anybody's, and the tokens for it. */
import { setTimeout as delay } from 'node:timers/promises'
import { newId } from '../../server/src/platform/ids.ts'
import type { Plane } from '../../server/src/processes/operator-token.ts'
import type { People } from '../../server/testing/people-of-a-workspace.ts'
import { stripe, stripeSignature } from '../../server/testing/webhook-samples/stripe.ts'
import type { BadInputHub, ServerName } from './hub.ts'
import { makePayload, type PayloadWorld } from './payload-requests.ts'
import type { Answer, Wire } from './wire.ts'
import { configDocument, INPUT, routeParts, type WorldNames } from './world-documents.ts'
import { type InboxWorld, makeInbox } from './world-inbox.ts'
import { makeQuarantine, type QuarantineWorld } from './world-quarantine.ts'

export const REASON = 'the bad-input matrix'

export interface World {
  readonly slug: string
  readonly tenantId: string
  /** Every scope of the plane. */
  readonly tokens: Readonly<Record<Plane, string>>
  /** The platform role, for the routes that ask for it. */
  readonly admin: string
  /** For the control plane in a workspace with nothing in it: its tokens may end. */
  readonly ending: string
  /** Names that no other workspace has. */
  readonly names: WorldNames
  readonly configVersion: number
  readonly routeId: string
  readonly inboxId: string
  readonly inbox: InboxWorld
  readonly payload: PayloadWorld
  readonly quarantine: QuarantineWorld
  /** Events that never arrived: one to dismiss, one to pull in. */
  readonly gaps: readonly [string, string]
  readonly identityId: string
  readonly issuerId: string
  readonly clientSecret: string
  readonly jobs: readonly string[]
  readonly deadJob: string
  readonly unknownExecution: string
  /** Plans to replay it. */
  readonly plans: readonly string[]
  readonly stripeSecret: string
  /** A run of the onboarding checklist that has ended: nobody answers where control looks for the other processes. */
  readonly verificationId: string
  readonly people: People
  /** A token of the workspace with its role of an Admin, which machines cannot have. */
  readonly workspaceAdmin: string
  readonly oidcReturn: Readonly<Record<string, string>>
  /** Another workspace, suspended: for the routes of the platform admin. */
  readonly suspendedId: string
}

export const json = (method: string, path: string, authorization: string, body?: unknown): Wire => ({
  method,
  path,
  headers: {
    authorization,
    ...(body !== undefined && { 'content-type': 'application/json' }),
    // What is put shall be there, whatever was there before.
    ...((method === 'PUT' || path === '/configs/activate') && { 'if-match': '*' }),
  },
  ...(body !== undefined && { body: JSON.stringify(body) }),
})

/** The bytes of a Stripe event and the header that signs them. */
export function signedEvent(bytes: Buffer, secret: string, atMs = Date.now()) {
  return { bytes, headers: { 'stripe-signature': stripeSignature(bytes, [secret], atMs) } }
}

function parsed<T>(what: string, { status, text }: Answer): T {
  if (status < 200 || status > 299) throw new Error(`${what} answered ${status}: ${text}`)
  return JSON.parse(text) as T
}

/** `configVersions`: how many versions the config gets before the active one, so that numbers differ by workspace. */
export async function makeWorld(hub: BadInputHub, name: string, configVersions: number): Promise<World> {
  const slug = `${name}-dev`
  const admin = await hub.token({ plane: 'control', platformAdmin: true })
  const post = async <T>(server: ServerName, path: string, token: string, body: unknown): Promise<T> =>
    parsed<T>(path, await hub.send(server, json('POST', path, token, body)))
  const put = async (path: string, token: string, body: unknown): Promise<void> => {
    parsed(path, await hub.send('control', json('PUT', path, token, body)))
  }
  const workspace = (of: string) =>
    post<{ id: string }>('control', '/workspaces', admin, {
      slug: of,
      name: of,
      template: 'empty',
      reason: REASON,
    })

  const { id: tenantId } = await workspace(slug)
  const { id: suspendedId } = await workspace(`${name}-asleep-dev`)
  await post('control', `/workspaces/${suspendedId}/suspend`, admin, { reason: REASON })
  const { id: endingId } = await workspace(`${name}-ending-dev`)
  const ending = await hub.token({ plane: 'control', tenantId: endingId })
  const tokens = {
    control: await hub.token({ plane: 'control', tenantId }),
    exec: await hub.token({ plane: 'exec', tenantId }),
  }
  const names = {
    connector: `api-of-${name}`,
    callback: `callback-of-${name}`,
    policy: `policy-of-${name}`,
    secret: `secret-of-${name}`,
    spare: `spare-of-${name}`,
    unused: `unused-of-${name}`,
  }
  const stripeSecret = `whsec_${newId()}`
  for (const secret of [names.secret, names.spare, names.unused]) {
    await hub.writeSecret(slug, secret, stripeSecret)
    await put(`/secret-refs/${secret}`, tokens.control, { ref: `file://${secret}`, reason: REASON })
  }
  // Two versions in the store, and back to its file: there is something to revert and something to delete.
  for (const value of ['the first', 'the second'])
    await put(`/secret-refs/${names.spare}/value`, tokens.control, { value, reason: REASON })
  await put(`/secret-refs/${names.spare}`, tokens.control, { ref: `file://${names.spare}`, reason: REASON })
  const document = configDocument({ names }, hub.urls.control)
  let version = 0
  for (let count = 0; count < configVersions; count += 1)
    version = (
      await post<{ version: number }>('control', '/configs', tokens.control, { document, reason: REASON })
    ).version
  await post('control', '/configs/activate', tokens.control, { version, reason: REASON })
  const route = await post<{ id: string }>('control', '/webhook-routes', tokens.control, {
    provider: 'stripe',
    livemode: false,
    connector: names.callback,
    secret_refs: [names.secret],
    ...routeParts(names),
    reason: REASON,
  })
  const identity = await post<{ id: string; client_secret: string }>(
    'control',
    '/identities',
    tokens.control,
    {
      name: `svc:of-${name}`,
      scopes: ['orchestrator.control.read', 'orchestrator.execute'],
      reason: REASON,
    },
  )
  const issuer = await post<{ id: string }>('control', '/trusted-issuers', tokens.control, {
    name: `idp-of-${name}`,
    issuer: `https://idp-of-${name}.test/`,
    jwks_url: `https://idp-of-${name}.test/jwks.json`,
    scopes: ['orchestrator.execute'],
    reason: REASON,
  })
  const gap = (what: string) =>
    hub.missingWebhook({ tenantId, routeId: route.id, eventId: `evt_${what}_of_${name}` })
  const jobs: string[] = []
  for (let count = 0; count < 2; count += 1)
    jobs.push(
      (
        await post<{ job_id: string }>('exec', '/jobs', tokens.exec, {
          connector: names.connector,
          operation: 'echo',
          input: INPUT,
          run_at: new Date(Date.now() + 86_400_000).toISOString(),
        })
      ).job_id,
    )
  const event = stripe.body({ id: `evt_of_${name}` })
  const deadJob = await hub.deadJob({ tenantId, connector: names.connector, operation: 'echo', input: INPUT })
  const plans: string[] = []
  for (let count = 0; count < 2; count += 1) {
    const wanted = { action: 'replay', ids: [deadJob] }
    plans.push(
      (await post<{ plan_id: string }>('control', '/dlq/default/plans', tokens.control, wanted)).plan_id,
    )
  }
  const { id: verificationId } = await post<{ id: string }>(
    'control',
    `/workspaces/${tenantId}/verify`,
    tokens.control,
    { reason: REASON },
  )
  const verification = json('GET', `/workspaces/${tenantId}/verify/${verificationId}`, tokens.control)
  for (let state = 'running'; state === 'running'; )
    ({ state } = parsed<{ state: string }>('verification', await hub.send('control', verification)))
  const people = await hub.people(tenantId, name)
  const receive = async (body: Buffer): Promise<string> => {
    const { bytes, headers } = signedEvent(body, stripeSecret)
    const path = `/webhooks/stripe/${route.id}`
    const taken = await hub.send('ingress', { method: 'POST', path, headers, body: bytes })
    return parsed<{ inbox_id: string }>('webhook', taken).inbox_id
  }
  const inboxId = await receive(event)
  const payload = await makePayload({
    large: () => {
      const event = JSON.parse(stripe.body({ id: `evt_large_${name}` }).toString()) as object
      return receive(Buffer.from(JSON.stringify({ ...event, note: 'x'.repeat(100_000) })))
    },
    get: async (path) => parsed(path, await hub.send('control', json('GET', path, tokens.control))),
  })
  const inbox = await makeInbox({
    ...{ slug, reason: REASON, search: hub.searchInboxPlans },
    get: async (path) => parsed(path, await hub.send('control', json('GET', path, tokens.control))),
    post: (path, body) => post('control', path, tokens.control, body),
    receive: (id) => receive(stripe.body({ id })),
  })
  const quarantine = await makeQuarantine({
    ...{ slug, routeId: route.id, wait: () => delay(20) },
    get: async (path, as) =>
      parsed(path, await hub.send('control', json('GET', path, as === 'platform' ? admin : tokens.control))),
    forge: async (path, id) => {
      const { bytes, headers } = signedEvent(stripe.body({ id }), `whsec_${newId()}`)
      const { status } = await hub.send('ingress', { method: 'POST', path, headers, body: bytes })
      if (status !== 401) throw new Error(`a forged event was answered ${status}`)
    },
  })
  return {
    slug,
    tenantId,
    ending,
    tokens,
    admin,
    names,
    configVersion: version,
    routeId: route.id,
    inboxId,
    inbox,
    payload,
    quarantine,
    gaps: [await gap('dismissed'), await gap('pulled')],
    identityId: identity.id,
    issuerId: issuer.id,
    clientSecret: identity.client_secret,
    jobs,
    deadJob,
    unknownExecution: await hub.unknownExecution(tenantId),
    plans,
    stripeSecret,
    verificationId,
    suspendedId,
    people,
    workspaceAdmin: await hub.token({ plane: 'control', tenantId, roles: ['admin'], scopes: [] }),
    oidcReturn: await hub.oidcReturn(people.of.exchangeOidc.operator.email),
  }
}
