/** A webhook whose signing secret cannot be read at the moment: the provider must send it again. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { testStores, usesUnseen } from '../../../../testing/secret-stores.ts'
import { CHANGE } from '../../../../testing/tenant-access.ts'
import { startVaultServer, type VaultServer } from '../../../../testing/vault-server.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { receivedSample, signedSample } from '../../../../testing/webhook-sample.ts'
import { stripe, stripeSignature } from '../../../../testing/webhook-samples/stripe.ts'
import { WEBHOOK_SAMPLES } from '../../../../testing/webhook-samples.ts'
import { systemClock } from '../../../platform/clock.ts'
import { createDial, type Dial } from '../../../platform/dial/dial.ts'
import { envKeys } from '../../../platform/envelope/env-keys.ts'
import { openEnvelope } from '../../../platform/envelope.ts'
import { Secret } from '../../../platform/secret.ts'
import { createVault } from '../../../platform/vault.ts'
import { createSecretResolver, putSecretRef, putSecretValue } from '../../secrets/secrets.ts'
import { createWorkspaceDirectory } from '../../workspaces/workspaces.ts'
import { PROVIDERS } from '../providers/registry.ts'

const keysOf = (current: Secret | undefined) =>
  openEnvelope({ keys: envKeys({ current, previous: [], where: 'the test' }) })
const kek = new Secret(randomBytes(32).toString('base64'))

let database: TestDatabase
let vault: VaultServer
let dial: Dial
let hub: WebhookHub
let tenantId: string
let closeDirectory: () => void
let envelope = keysOf(kek)
let knowsVault = true

beforeAll(async () => {
  database = await testDatabase()
  vault = await startVaultServer()
  const { db, platform } = database
  const { metrics, log, clock } = platform
  dial = createDial({ allowCidrs: ['127.0.0.1/32'], metrics, log })
  const login = { method: 'token', token: async () => new Secret(vault.newToken()) } as const
  const client = createVault({ address: vault.url, login, namespace: undefined, dial, clock, log })
  const directory = createWorkspaceDirectory({ ...platform, environment: 'dev' })
  closeDirectory = () => directory.close()
  hub = webhookHub(platform, 'dev', (tenant, name) =>
    createSecretResolver({
      ...{ db, directory, clock: systemClock, lastUsed: usesUnseen },
      readRef: testStores({ db, envelope, vault: knowsVault ? { client, prefix: '' } : undefined }),
    })(tenant, name),
  )
  tenantId = await hub.workspace('away-dev')
  vault.write('away-dev/hook', { signing: 'whsec_in_vault' })
  await putSecretRef(db, { tenantId, name: 'vaulted', ref: 'vault://kv/hook#signing' }, CHANGE)
  const value = new Secret('whsec_in_the_hub')
  await putSecretValue({ db, envelope }, { tenantId, name: 'kept', value }, CHANGE)
  for (const name of ['vaulted', 'kept'])
    await hub.route(tenantId, { secret: 'unused', account: `acct_${name}`, secretRefs: [name] })
})
afterAll(async () => {
  await hub.close()
  closeDirectory()
  await dial.close()
  await vault.close()
  await database.drop()
})

let sent = 0
async function send(account: string, secret: string, headers?: Record<string, string[]>) {
  const provider = PROVIDERS.get('stripe')
  if (!provider) throw new Error('stripe is gone')
  const raw = stripe.body({ id: `evt_away_${++sent}`, account })
  return hub
    .accept({
      ...{ provider, raw, routeId: undefined, url: undefined, call: CHANGE.call },
      headers: headers ?? { 'stripe-signature': [stripeSignature(raw, [secret], Date.now())] },
    })
    .then(
      () => 'accepted',
      ({ code, extra }) => [code, extra.retryAfterSeconds],
    )
}

it.each([
  ['Vault is sealed', 503],
  ['Vault refuses the hub', 403],
])('is asked to come again while %s', async (_name, status) => {
  expect(await send('acct_vaulted', 'whsec_in_vault')).toBe('accepted')
  vault.fail(status)
  const kept = hub.quarantined.length
  expect(await send('acct_vaulted', 'whsec_in_vault')).toEqual(['webhook_unavailable', 30])
  // Not every provider comes again.
  expect(hub.quarantined.slice(kept)).toMatchObject([{ refused: [{ cause: 'secret_away' }] }])
  // Whoever cannot have signed at all is refused as ever.
  expect(await send('acct_vaulted', '', {})).toEqual(['signature_invalid', undefined])
  vault.fail(0)
  expect(await send('acct_vaulted', 'whsec_in_vault')).toBe('accepted')
  expect(await send('acct_vaulted', 'whsec_wrong')).toEqual(['signature_invalid', undefined])
})

it('is asked to come again while the key-encryption key is away', async () => {
  expect(await send('acct_kept', 'whsec_in_the_hub')).toBe('accepted')
  envelope = keysOf(undefined)
  expect(await send('acct_kept', 'whsec_in_the_hub')).toEqual(['webhook_unavailable', 30])
  envelope = keysOf(kek)
  expect(await send('acct_kept', 'whsec_in_the_hub')).toBe('accepted')
})

it('is refused when the hub knows no such store: that is no outage', async () => {
  knowsVault = false
  expect(await send('acct_vaulted', 'whsec_in_vault')).toEqual(['signature_invalid', undefined])
  knowsVault = true
  expect(await send('acct_vaulted', 'whsec_in_vault')).toBe('accepted')
})

it.each(['shopify', 'hmac', 'github', 'stripe'])(
  'of %s is nothing that concerns the events of another workspace',
  async (name) => {
    const provider = PROVIDERS.get(name)
    const sample = WEBHOOK_SAMPLES[name]
    if (!provider || !sample) throw new Error(`${name} is gone`)
    const [value, other] = sample.secrets
    const settings = sample.settings ?? {}
    const theirs = await hub.workspace(`theirs-${name}-dev`)
    const mine = await hub.workspace(`mine-${name}-dev`)
    await putSecretRef(
      database.db,
      { tenantId: theirs, name: 'theirs', ref: 'vault://kv/hook#signing' },
      CHANGE,
    )
    await putSecretValue(
      { db: database.db, envelope },
      { tenantId: mine, name: 'mine', value: new Secret(value) },
      CHANGE,
    )
    const route = { provider: name, secret: 'unused', settings }
    await hub.route(theirs, { ...route, secretRefs: ['theirs'] })
    await hub.route(mine, { ...route, secretRefs: ['mine'] })
    await hub.routes.refresh()
    const answers = async () => {
      const answerTo = async (secret: string, account?: string) => {
        const event = { id: `ev-${++sent}`, ...(account !== undefined && { account }) }
        const atMs = Date.now()
        const made = receivedSample(signedSample(sample, { event, secrets: [secret], atMs }), atMs)
        return hub.accept({ ...made, provider, routeId: undefined, call: CHANGE.call }).then(
          ({ kind }) => kind as string,
          ({ code }: { code: string }) => code,
        )
      }
      return [await answerTo(value), await answerTo(other), await answerTo(other, 'acct_nobodys')]
    }
    const kept = hub.quarantined.length
    vault.fail(503)
    try {
      expect(await answers()).toEqual(['taken', 'signature_invalid', 'signature_invalid'])
    } finally {
      vault.fail(0)
    }
    expect(hub.quarantined.length).toBe(kept + 2)
  },
)

it('is refused when what is stored does not open: that will not mend itself', async () => {
  await hub.query('update secret_value set version = 7 where tenant_id = $1', [tenantId])
  expect(await send('acct_kept', 'whsec_in_the_hub')).toEqual(['signature_invalid', undefined])
})
