/**
 * What a run adds to the workspace, and takes away again: all of it begins with `verify-`, so that the next run finds
 * what one that crashed has left. The product's own objects are never touched.
 */
import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type PlaneClient, told } from './plane-client.ts'
import { NotShown } from './verdict.ts'

export const PREFIX = 'verify-'
/** Connectors by what they are for. */
export const CONNECTORS = {
  /** No policy of its own: what the workspace's default policy does is what happens. */
  plain: 'verify-plain',
  /** The default policy, with short times. */
  hasty: 'verify-hasty',
  /** One attempt per job. */
  once: 'verify-once',
  /** Four calls in two seconds. */
  few: 'verify-few',
  callback: 'verify-callback',
} as const

/** Names of their own in each run: processes remember the value of a name for some seconds. */
const secretNamesOf = (runId: string) => ({
  signing: `verify-signing-${runId.slice(-12)}`,
  webhook: `verify-webhook-${runId.slice(-12)}`,
})

export const EMITTED = 'onboarding_verified'
export const HASTY_ATTEMPT_MS = 300

/** Values that only this run knows. */
export interface StageSecrets {
  readonly signing: string
  readonly webhook: string
  /** The account of the provider that the run's webhook route is for. */
  readonly account: string
}

const randomSecret = (): string => `whsec_${randomBytes(24).toString('base64')}`

export interface DocumentConnector {
  readonly kind: string
  readonly secrets?: Readonly<Record<string, string>>
}

export interface Document {
  readonly policies: Readonly<Record<string, unknown>>
  readonly connectors: Readonly<Record<string, DocumentConnector>>
}

const POLICIES = {
  'verify-hasty': { timeouts: { attempt_ms: HASTY_ATTEMPT_MS, total_ms: 6_000 } },
  'verify-once': { job_retry: { max_attempts: 1 } },
  'verify-few': {
    rate_limits: { connector: { mode: 'enforce', permits: 4, period_ms: 2_000, burst: 4 } },
    retry: { max_attempts: 1 },
  },
}

const input = {
  type: 'object',
  properties: { mark: { type: 'string' } },
  additionalProperties: false,
}

const operations = {
  look: { title: 'Look', method: 'GET', path: '/ok', query: { mark: '{{input.mark}}' }, input },
  take: {
    title: 'Take',
    method: 'POST',
    path: '/take',
    body: '{{input}}',
    input,
    idempotency_key_header: 'Idempotency-Key',
  },
  wait: { title: 'Wait in vain', method: 'GET', path: '/slow', input },
  fail: {
    title: 'Fail until mended',
    method: 'POST',
    path: '/broken',
    body: '{{input}}',
    input,
    idempotency_key_header: 'Idempotency-Key',
  },
}

const upstream = (baseUrl: string, policy?: string) => ({
  kind: 'http',
  title: 'Onboarding verification',
  ...(policy !== undefined && { policy }),
  settings: { base_url: baseUrl, operations },
})

const stageConnectors = (baseUrl: string, signing: string) => ({
  [CONNECTORS.plain]: upstream(baseUrl),
  [CONNECTORS.hasty]: upstream(baseUrl, 'verify-hasty'),
  [CONNECTORS.once]: upstream(baseUrl, 'verify-once'),
  [CONNECTORS.few]: upstream(baseUrl, 'verify-few'),
  [CONNECTORS.callback]: {
    kind: 'callback',
    title: 'Onboarding verification',
    settings: { url: `${baseUrl}/callback` },
    secrets: { signing_secret: signing },
  },
})

/** Only what a neighbour needs: the same name and the same limit as in the workspace that is verified. */
export const addNeighbourObjects = (control: PlaneClient, baseUrl: string, reason: string): Promise<void> =>
  changeDocument(control, reason, (own) => ({
    ...own,
    policies: { ...own.policies, 'verify-few': POLICIES['verify-few'] },
    connectors: { ...own.connectors, [CONNECTORS.few]: upstream(baseUrl, 'verify-few') },
  }))

/** Adds everything. Errors: `NotShown` with what the hub had against it. */
export async function addStageObjects(
  control: PlaneClient,
  of: { readonly baseUrl: string; readonly runId: string; readonly live: boolean; readonly reason: string },
): Promise<StageSecrets> {
  const { baseUrl, runId, live, reason } = of
  const names = secretNamesOf(runId)
  const secrets = {
    signing: randomSecret(),
    webhook: randomSecret(),
    account: `acct_verify_${runId.replaceAll('-', '')}`,
  }
  for (const [name, value] of [
    [names.signing, secrets.signing],
    [names.webhook, secrets.webhook],
  ] as const)
    await control.want(`/secret-refs/${name}/value`, { method: 'PUT', body: { value, reason } })
  await changeDocument(control, reason, (own) => ({
    ...own,
    policies: { ...own.policies, ...POLICIES },
    connectors: { ...own.connectors, ...stageConnectors(baseUrl, names.signing) },
  }))
  await control.want('/webhook-routes', {
    body: {
      provider: 'stripe',
      account: secrets.account,
      livemode: live,
      connector: CONNECTORS.callback,
      secret_refs: [names.webhook],
      emit_on_delivery: [{ event_types: ['*'], event: EMITTED }],
      reason,
    },
  })
  return secrets
}

/** Removes everything of this and earlier runs; gives how many objects there were. */
export async function removeStageObjects(control: PlaneClient, reason: string): Promise<number> {
  const because = `reason=${encodeURIComponent(reason)}`
  let removed = 0
  await purgeLetters(control, reason)
  for (const route of await everything<{ id: string; connector: string }>(control, '/webhook-routes')) {
    if (!route.connector.startsWith(PREFIX)) continue
    await control.want(`/webhook-routes/${route.id}?${because}`, { method: 'DELETE' })
    removed += 1
  }
  await changeDocument(control, reason, (own) => ({
    ...own,
    policies: withoutOurs(own.policies),
    connectors: withoutOurs(own.connectors),
  }))
  for (const { name } of await everything<{ name: string }>(control, '/secret-refs')) {
    if (!name.startsWith(PREFIX)) continue
    await control.want(`/secret-refs/${name}?${because}`, { method: 'DELETE' })
    removed += 1
  }
  return removed
}

/** Letters of a run that failed half-way go into the bin; without a worker they wait for one. */
async function purgeLetters(control: PlaneClient, reason: string): Promise<void> {
  const filter = { connector: CONNECTORS.once }
  const { data } = await control.want<{ data: unknown[] }>(
    `/dlq/default?connector=${filter.connector}&limit=1`,
  )
  if (data.length === 0) return
  const plan = await control.want<{ plan_id: string }>('/dlq/default/plans', {
    body: { action: 'purge', filter },
  })
  await control.want(`/dlq/plans/${plan.plan_id}/commit`, { body: { reason } })
}

const withoutOurs = <Value>(members: Readonly<Record<string, Value>>): Record<string, Value> =>
  Object.fromEntries(Object.entries(members).filter(([name]) => !name.startsWith(PREFIX)))

/** All pages of a list. */
export async function everything<Item>(plane: PlaneClient, path: string): Promise<Item[]> {
  const items: Item[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const page: { data: Item[]; next_cursor: string | null } = await plane.want(
      `${path}?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
    )
    items.push(...page.data)
    cursor = page.next_cursor
  }
  return items
}

const EMPTY: Document = { policies: {}, connectors: {} }
const TRIES = 5

/** The active config and its version; empty and undefined when there is none yet. */
export async function activeDocument(
  control: PlaneClient,
): Promise<{ readonly document: Document; readonly version: number | undefined }> {
  const answer = await control.call<{ document: Document; version: number }>('/configs/active')
  if (answer.status === 404) return { document: EMPTY, version: undefined }
  if (answer.status !== 200)
    throw new NotShown(`control answered ${answer.status} to /configs/active: ${told(answer.body)}`)
  return answer.body
}

/** One new version, and only from the one that was read: what others change meanwhile is not undone. */
async function changeDocument(
  control: PlaneClient,
  reason: string,
  make: (own: Document) => Document,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const { document, version } = await activeDocument(control)
    const wanted = make(document)
    if (isDeepStrictEqual(wanted, document)) return
    const headers = version === undefined ? {} : { 'if-match': `"${version}"` }
    const stored = await control.call<{ version: number }>('/configs', {
      body: { document: wanted, reason },
      headers,
    })
    const answer =
      stored.status === 201
        ? await control.call('/configs/activate', { body: { version: stored.body.version, reason }, headers })
        : stored
    if (answer.status === 200) return
    if (answer.status !== 412 || tries === TRIES)
      throw new NotShown(
        `The config with what the verification needs was refused: ${told(answer.body)}`,
        'Mend what the refusal names in the active config; the verification adds its own objects to it.',
      )
  }
}
