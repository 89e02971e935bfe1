import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Run } from '../cases/case.ts'
import { type BenchHub, openBenchHub, REASON, SLUG } from './hub.ts'
import { SIGNING_SECRET } from './stripe-events.ts'

const CALLBACK_SECRET = `whsec_${Buffer.from('bench only: thirty-two bytes of it').toString('base64')}`

/** Rules that have room: what they cost is measured, not what they refuse. */
const POLICY = {
  rate_limits: {
    workspace: { mode: 'enforce', permits: 1_000_000, period_ms: 1_000, burst: 1_000_000 },
    connector: { mode: 'enforce', permits: 1_000_000, period_ms: 1_000, burst: 1_000_000 },
  },
  bulkhead: { mode: 'enforce', max_in_flight: 1_000, workspace_max_in_flight: 1_000 },
}

/** The name of the connector that takes the deliveries. */
export const PRODUCT = 'product'

/** A hub with a workspace whose Stripe events go to a product at this address. */
export async function openWebhookHub(
  run: Pick<Run, 'databaseUrl' | 'folder' | 'nodeArgs'>,
  productUrl: string,
): Promise<BenchHub> {
  const secrets = join(run.folder, 'secrets', SLUG)
  await mkdir(secrets, { recursive: true, mode: 0o700 })
  await writeFile(join(secrets, 'stripe'), SIGNING_SECRET, { mode: 0o600 })
  await writeFile(join(secrets, 'callback'), CALLBACK_SECRET, { mode: 0o600 })
  const product = {
    kind: 'callback',
    settings: { url: `${productUrl}/events` },
    secrets: { signing_secret: 'callback' },
  }
  return openBenchHub(
    run,
    { policies: { default: POLICY }, connectors: { [PRODUCT]: product } },
    async (api) => {
      for (const name of ['stripe', 'callback'])
        await api.put(`/secret-refs/${name}`, { ref: `file://${name}`, reason: REASON })
      await api.put(`/connectors/${PRODUCT}`, { connector: product, reason: REASON })
      await api.post('/webhook-routes', {
        provider: 'stripe',
        livemode: false,
        connector: PRODUCT,
        secret_refs: ['stripe'],
        reason: REASON,
      })
    },
  )
}
