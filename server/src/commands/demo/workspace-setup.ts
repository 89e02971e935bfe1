import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../../config.ts'
import { type Api, ApiError } from '../api.ts'
import { controlApi, findWorkspaceIn, type WorkspaceSummary } from '../control-api.ts'

/** Names that every demo workspace has; the README's commands use them. */
export const SIGNING_SECRET = 'callback-signing-secret'
export const STRIPE_SECRET = 'stripe-webhook-secret'
export const PRODUCT = 'product'
const REASON = 'demo workspace'

/** Makes the workspace unless it is there. */
export async function ensureWorkspace(control: Api, slug: string, name: string): Promise<WorkspaceSummary> {
  const found = await findWorkspaceIn(control, slug)
  return found ?? control.post<WorkspaceSummary>('/workspaces', { slug, name, reason: REASON })
}

const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status === 409

/** The value of a demo secret; makes a random one the first time. The file is what `file://` refs read. */
export async function ensureSecretFile(config: Config, slug: string, name: string): Promise<string> {
  const folder = join(config.secretsDir, slug)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, name)
  const value = `whsec_${randomBytes(24).toString('base64')}`
  try {
    await writeFile(path, value, { flag: 'wx', mode: 0o600 })
    return value
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return (await readFile(path, 'utf8')).trim()
  }
}

export const putSecretRef = (control: Api, name: string): Promise<unknown> =>
  control.put(`/secret-refs/${name}`, { ref: `file://${name}`, reason: REASON })

/** A callback connector: where the product takes what the hub delivers. */
export const callbackConnector = (url: string, policy?: string) => ({
  kind: 'callback',
  title: 'The product',
  ...(policy && { policy }),
  settings: { url },
  secrets: { signing_secret: SIGNING_SECRET },
})

/** A Stripe route whose billing events become `billing_state_updated` once the product has taken them. */
export const stripeRoute = (connector: string) => ({
  provider: 'stripe',
  livemode: false,
  connector,
  secret_refs: [STRIPE_SECRET],
  emit_on_delivery: [
    { event_types: ['invoice.*', 'customer.subscription.*'], event: 'billing_state_updated' },
  ],
  reason: REASON,
})

interface Target {
  readonly config: Config
  readonly controlUrl: string
}

/**
 * Makes a workspace in which everything can be tried at once: a connector to call (the hub itself, because it is
 * surely there), a callback connector and a Stripe route. A workspace that has a config is left as it is, but for
 * our own connectors when the hub listens elsewhere since.
 */
export async function setUpDemoWorkspace(
  target: Target,
  slug: string,
  name: string,
): Promise<WorkspaceSummary> {
  const { config, controlUrl } = target
  const workspace = await ensureWorkspace(await controlApi(config, controlUrl), slug, name)
  const control = await controlApi(config, controlUrl, workspace.id)
  const connectors = {
    hub: hubConnector(controlUrl),
    // Where `orchestrator trigger` takes callbacks.
    [PRODUCT]: callbackConnector(`http://127.0.0.1:${config.demoProductPort}/callbacks/ok`),
  }
  const active = await activeConfig(control)
  // Version 1 is what the template of the workspace has given it: no connectors yet.
  if (active && (active.version > 1 || Object.keys(active.document.connectors).length > 0)) {
    await followHub(control, active.document.connectors, connectors)
    return workspace
  }
  for (const secret of [SIGNING_SECRET, STRIPE_SECRET]) {
    await ensureSecretFile(config, slug, secret)
    await putSecretRef(control, secret)
  }
  const document = { policies: active?.document.policies ?? {}, connectors }
  const stored = await control.post<{ version: number }>('/configs', { document, reason: REASON })
  const activation = { version: stored.version, reason: REASON }
  await control.post('/configs/activate', activation, { 'if-match': '*' })
  await control.post('/webhook-routes', stripeRoute(PRODUCT)).catch((error: unknown) => {
    // A start that was killed between the two steps: the route is there already.
    if (!isConflict(error)) throw error
  })
  return workspace
}

interface ActiveConfig {
  readonly version: number
  readonly document: {
    readonly policies: Readonly<Record<string, unknown>>
    readonly connectors: Readonly<Record<string, unknown>>
  }
}

async function activeConfig(control: Api): Promise<ActiveConfig | undefined> {
  try {
    return await control.get<ActiveConfig>('/configs/active')
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined
    throw error
  }
}

/** Moves connectors that differ from ours in nothing but host and port; what an operator has changed stays his. */
async function followHub(
  control: Api,
  stored: Readonly<Record<string, unknown>>,
  wanted: Readonly<Record<string, unknown>>,
): Promise<void> {
  const withoutOrigin = (connector: unknown): unknown =>
    JSON.parse(JSON.stringify(connector ?? null).replace(/http:\/\/[^/"]+/, ''))
  for (const [name, connector] of Object.entries(wanted)) {
    const moved =
      !isDeepStrictEqual(stored[name], connector) &&
      isDeepStrictEqual(withoutOrigin(stored[name]), withoutOrigin(connector))
    if (moved) await control.put(`/connectors/${name}`, { connector, reason: 'the hub is elsewhere now' })
  }
}

const hubConnector = (controlUrl: string) => ({
  kind: 'http',
  title: 'The hub itself',
  settings: {
    base_url: controlUrl,
    operations: {
      health: {
        title: 'Health of the control process',
        method: 'GET',
        path: '/health',
        input: { type: 'object', properties: {}, additionalProperties: false },
        output: { type: 'object', properties: { status: { type: 'string' } }, required: ['status'] },
      },
    },
  },
})
