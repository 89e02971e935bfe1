/** A claim is only a claim: whoever proves an event has it. And test events that come to live addresses. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase, testPlatform } from '../../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { receivedSample, signedSample } from '../../../../testing/webhook-sample.ts'
import { WEBHOOK_SAMPLES } from '../../../../testing/webhook-samples.ts'
import { newId } from '../../../platform/ids.ts'
import { PROVIDERS } from '../providers/registry.ts'

let database: TestDatabase
let hub: WebhookHub
let a: string
let b: string
let c: string

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform, 'prod')
  a = await hub.workspace('a-prod')
  b = await hub.workspace('b-prod')
  c = await hub.workspace('c-prod')
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})
beforeEach(async () => {
  await hub.query('delete from webhook_route')
})

async function send(
  name: string,
  secret: string,
  { routeId, ...event }: { account?: string; livemode?: boolean; routeId?: string },
) {
  const [provider, sample] = [PROVIDERS.get(name), WEBHOOK_SAMPLES[name]]
  if (!provider || !sample) throw new Error(`${name} is gone`)
  const id = `ev-${newId()}`
  const atMs = Date.now()
  const made = receivedSample(
    signedSample(sample, { event: { id, ...event }, secrets: [secret], atMs }),
    atMs,
  )
  const call = { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' }
  const kept = hub.quarantined.length
  const answer = await hub.accept({ ...made, provider, routeId, call }).then(
    ({ kind }) => kind as string,
    ({ code }: { code: string }) => code,
  )
  const owners = await hub.query<{ tenant_id: string }>(
    'select tenant_id from webhook_inbox where event_id = $1',
    [id],
  )
  const [refused] = hub.quarantined.slice(kept).flatMap((each) => each.refused)
  return { answer, owners: owners.map(({ tenant_id }) => tenant_id), refused }
}

describe.each(['github', 'slack', 'shopify', 'hmac'])('an account of %s that is claimed', (name) => {
  const sample = WEBHOOK_SAMPLES[name] ?? expect.unreachable('no sample')
  const [mine, theirs] = sample.secrets
  const settings = sample.settings ?? {}
  const claim = (tenantId: string, secret: string) =>
    hub.route(tenantId, { provider: name, secret, account: 'acme', settings })
  const own = (tenantId: string, secret: string) => hub.route(tenantId, { provider: name, secret, settings })

  it('without a proof keeps nothing from who proves it', async () => {
    await own(a, mine)
    await claim(b, theirs)
    await hub.routes.refresh()
    expect(await send(name, mine, { account: 'acme' })).toMatchObject({ answer: 'taken', owners: [a] })
    // With a proof it has what names the account.
    expect(await send(name, theirs, { account: 'acme' })).toMatchObject({ answer: 'taken', owners: [b] })
    expect((await send(name, `${mine.slice(0, -2)}11`, { account: 'acme' })).answer).toBe('signature_invalid')
  })

  it('is nobody’s when two others prove it', async () => {
    await own(a, mine)
    await own(c, mine)
    await claim(b, theirs)
    await hub.routes.refresh()
    const { answer, owners, refused } = await send(name, mine, { account: 'acme' })
    expect({ answer, owners }).toEqual({ answer: 'quarantined', owners: [] })
    expect(refused).toMatchObject({ cause: 'ambiguous', authentic: true })
    expect(refused?.route).toBeUndefined()
  })
})

describe('an event of Stripe of the other mode', () => {
  it('is kept when it is a test event that a live route verifies', async () => {
    const route = await hub.route(a, { secret: 'whsec_live', account: 'acct_a' })
    await hub.route(a, { secret: 'whsec_own' })
    await hub.routes.refresh()
    const test = { livemode: false }
    const kept = {
      answer: 'quarantined',
      owners: [],
      refused: { cause: 'livemode_mismatch', authentic: true },
    }
    expect(await send('stripe', 'whsec_live', { ...test, account: 'acct_a' })).toMatchObject(kept)
    expect(await send('stripe', 'whsec_own', test)).toMatchObject(kept)
    expect(await send('stripe', 'whsec_live', { ...test, account: 'acct_x' })).toMatchObject(kept)
    const toPath = { ...test, account: 'acct_a', routeId: route.id }
    expect(await send('stripe', 'whsec_live', toPath)).toMatchObject(kept)
    // The secret of another route at the path of this one proves nothing there, and its workspace sees nothing of it.
    const wrong = await send('stripe', 'whsec_own', toPath)
    expect(wrong.answer).toBe('signature_invalid')
    expect(wrong.refused?.route).toBeUndefined()
    expect((await send('stripe', 'whsec_wrong', { ...test, account: 'acct_a' })).answer).toBe(
      'signature_invalid',
    )
  })

  it('is refused when it is a live event with the secret of a test route', async () => {
    // With metrics of its own.
    const platform = testPlatform(database.url)
    const dev = webhookHub(platform, 'dev')
    try {
      const tenantId = await dev.workspace('test-dev')
      await dev.route(tenantId, { secret: 'whsec_test', account: 'acct_t' })
      const { body, headers } = signedSample(WEBHOOK_SAMPLES.stripe ?? expect.unreachable(), {
        event: { id: 'evt_live', account: 'acct_t', livemode: true },
        secrets: ['whsec_test'],
        atMs: Date.now(),
      })
      const values = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]))
      const call = { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' }
      const provider = PROVIDERS.get('stripe') ?? expect.unreachable()
      const sent = { provider, routeId: undefined, raw: body, headers: values, url: undefined, call }
      await expect(dev.accept(sent)).rejects.toMatchObject({ code: 'signature_invalid' })
    } finally {
      await dev.close()
      await platform.notifications.close()
      await Promise.all([platform.db.close(), platform.requestDb.close(), platform.owner.close()])
    }
  })
})
