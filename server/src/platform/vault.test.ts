import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ManualClock, manualClock } from '../../testing/manual-clock.ts'
import { startVaultServer, type VaultServer } from '../../testing/vault-server.ts'
import { createDial, type Dial } from './dial/dial.ts'
import { vaultTransitKeys } from './envelope/vault-transit-keys.ts'
import { openEnvelope } from './envelope.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { Secret } from './secret.ts'
import { createVault, type Vault, type VaultLogin } from './vault.ts'

const log = createLog('test', 'silent')
let server: VaultServer
let dial: Dial
let clock: ManualClock
let vault: Vault

const open = (login: VaultLogin, namespace?: string): Vault => {
  vault = createVault({ address: server.url, login, namespace, dial, clock, log })
  return vault
}
const appRole = (): VaultLogin => ({
  method: 'approle',
  roleId: server.roleId,
  secretId: async () => new Secret(server.secretId),
})
const read = () => vault.request('GET', 'kv/data/hub/shop-dev/stripe')
const logins = () => server.requests.filter((request) => request === 'POST auth/approle/login').length

beforeEach(async () => {
  server = await startVaultServer()
  server.write('hub/shop-dev/stripe', { key: 'v' })
  clock = manualClock()
  dial = createDial({ allowCidrs: ['127.0.0.1/32'], metrics: createMetrics('test', false), log })
})
afterEach(async () => {
  vault.close()
  await dial.close()
  await server.close()
})

describe('a session with Vault (against a stand-in, not a live server)', () => {
  it('logs in once for many readers at the same time, and names its namespace', async () => {
    open(appRole(), 'team-a')
    const answers = await Promise.all([read(), read(), read()])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(logins()).toBe(1)
    expect(server.headers()).toMatchObject({ 'x-vault-namespace': 'team-a', 'x-vault-request': 'true' })
  })

  it('renews its token before it ends', async () => {
    server.leaseSeconds = 30
    open(appRole())
    await read()
    await clock.advance(20_000)
    await expect.poll(() => server.requests.at(-1)).toBe('POST auth/token/renew-self')
    await expect.poll(async () => (await read()).status).toBe(200)
    expect(logins()).toBe(1)
  })

  it('logs in again when its token is no longer taken', async () => {
    open(appRole())
    await read()
    server.revokeAll()
    await clock.advance(5_000)
    expect((await read()).status).toBe(200)
    expect(logins()).toBe(2)
  })

  it('does not log in for every refusal of a policy', async () => {
    server.allowOnly('other/')
    open(appRole())
    for (let n = 0; n < 5; n += 1)
      await expect(read()).rejects.toMatchObject({
        message: 'Vault refuses access (HTTP 403)',
        passing: false,
      })
    expect(logins()).toBe(1)
  })

  it('takes a token, and a new one from its file after the old one has ended', async () => {
    let token = server.newToken()
    open({ method: 'token', token: async () => new Secret(token) })
    expect((await read()).status).toBe(200)
    server.revokeAll()
    token = server.newToken()
    await clock.advance(5_000)
    expect((await read()).status).toBe(200)
    server.revokeAll()
    await clock.advance(5_000)
    const refused = await read().catch((error: Error) => error)
    expect(refused).toMatchObject({ message: 'Vault refuses the token (HTTP 403)' })
    expect(JSON.stringify([refused, String((refused as Error).stack)])).not.toContain(token)
  })

  it('says what may pass and what will not', async () => {
    open({ method: 'approle', roleId: server.roleId, secretId: async () => new Secret('wrong') })
    await expect(read()).rejects.toMatchObject({ passing: false })
    vault.close()
    open(appRole())
    server.fail(503)
    await expect(read()).rejects.toMatchObject({ passing: true })
    server.fail(0)
    expect((await read()).status).toBe(200)
    await server.close()
    await expect(read()).rejects.toMatchObject({ passing: true })
  })
})

describe('a key-encryption key in the transit engine', () => {
  const context = ['secret', 't', 'n', '1']
  const envelopeOn = (client: Vault | undefined) =>
    openEnvelope({ keys: vaultTransitKeys({ vault: client, mount: 'transit', key: 'orchestrator' }) })

  it('wraps data keys only, and authenticates the context', async () => {
    const envelope = envelopeOn(open(appRole()))
    const value = new Secret(randomBytes(20).toString('hex'))
    const sealed = await envelope.seal(value, context)
    expect((await envelope.open(sealed, context)).reveal()).toBe(value.reveal())
    expect(envelope.keyIdOf(sealed)).toBe('transit:transit/orchestrator:v1')
    await expect(envelope.open(sealed, ['secret', 'other', 'n', '1'])).rejects.toMatchObject({
      reason: 'not_authentic',
    })
    await envelope.check()
  })

  it('is rotated in Vault, and what an older version wrapped is rewrapped', async () => {
    const envelope = envelopeOn(open(appRole()))
    const sealed = await envelope.seal(new Secret('v'), context)
    server.rotateTransit()
    await envelope.keys.refresh()
    expect(envelope.needsRewrap(sealed)).toBe(true)
    const again = await envelope.rewrap(sealed, context)
    expect(envelope.needsRewrap(again)).toBe(false)
    expect((await envelope.open(again, context)).reveal()).toBe('v')
  })

  it('that is away or unknown is told as that', async () => {
    const envelope = envelopeOn(open(appRole()))
    const sealed = await envelope.seal(new Secret('v'), context)
    server.fail(503)
    await expect(envelope.open(sealed, context)).rejects.toMatchObject({ reason: 'key_unavailable' })
    await expect(envelopeOn(undefined).check()).rejects.toMatchObject({ reason: 'key_missing' })
  })
})
