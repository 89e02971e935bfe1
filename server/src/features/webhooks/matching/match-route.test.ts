import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { capturedLog } from '../../../../testing/captured-log.ts'
import {
  type TestDatabase,
  type TestPlatform,
  testDatabase,
  testPlatform,
} from '../../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { receivedSample, type SignedSample, signedSample } from '../../../../testing/webhook-sample.ts'
import { adyenBody, adyenItem } from '../../../../testing/webhook-samples/adyen.ts'
import { slack as slackSample, slackSignature } from '../../../../testing/webhook-samples/slack.ts'
import { stripe as stripeSample } from '../../../../testing/webhook-samples/stripe.ts'
import { systemClock } from '../../../platform/clock.ts'
import { newId } from '../../../platform/ids.ts'
import type { AnyProvider } from '../provider.ts'
import { adyen } from '../providers/adyen.ts'
import { slack } from '../providers/slack.ts'
import { stripe } from '../providers/stripe.ts'

const DAY = 86_400_000
const NOW = Date.UTC(2026, 10, 22, 12)

let database: TestDatabase
let platform: TestPlatform
let hub: WebhookHub
let full = false
let now = NOW
let a: string
let b: string
const captured = capturedLog()

beforeAll(async () => {
  database = await testDatabase()
  platform = testPlatform(database.url, { log: captured.log, clock: { ...systemClock, now: () => now } })
  hub = webhookHub(platform, 'dev', undefined, async (refused) => {
    if (!full) hub.quarantined.push(refused)
    return !full
  })
  a = await hub.workspace('a-dev')
  b = await hub.workspace('b-dev')
})
afterAll(async () => {
  await hub.close()
  await platform.notifications.close()
  await Promise.all([platform.db.close(), platform.requestDb.close(), platform.owner.close()])
  await database.drop()
})
beforeEach(async () => {
  now = NOW
  full = false
  await hub.query('delete from webhook_route')
})

const call = { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' }
const accept = (provider: AnyProvider, sample: SignedSample, routeId?: string) => {
  const { raw, headers } = receivedSample(sample, now)
  return hub.accept({ provider, routeId, raw, headers, url: undefined, call })
}
const answerTo = (...sent: Parameters<typeof accept>) =>
  accept(...sent).then(
    ({ kind }) => kind as string,
    ({ code }: { code: string }) => code,
  )
const stripeEvent = (account: string | undefined, secret: string, id = `evt_${newId()}`) =>
  signedSample(stripeSample, {
    event: { id, ...(account !== undefined && { account }) },
    secrets: [secret],
    atMs: now,
  })
/** A provider that counts how often it checks a signature. */
const counting = (provider: AnyProvider): AnyProvider & { checks: number } => {
  const counted = {
    ...provider,
    checks: 0,
    verify: (...args: Parameters<AnyProvider['verify']>) => {
      counted.checks += 1
      return provider.verify(...args)
    },
  }
  return counted
}
const metric = async (name: string, labels: Record<string, string>): Promise<number> => {
  const { values = [] } =
    (await platform.metrics.registry.getSingleMetric(`orchestrator_${name}`)?.get()) ?? {}
  return values
    .filter((value) => Object.entries(labels).every(([label, is]) => value.labels[label] === is))
    .reduce((sum, { value }) => sum + value, 0)
}

describe('a secret with a window', () => {
  it('counts from its beginning until before its end, by the clock of the hub', async () => {
    const window = { validFrom: new Date(NOW), validUntil: new Date(NOW + DAY) }
    const route = await hub.route(a, { secret: 'whsec_first', account: 'acct_w', secretRefs: ['next'] })
    hub.secrets.set(`${a}/next`, 'whsec_next')
    const windows = [{ secret_ref: 'next', valid_from: window.validFrom, valid_until: window.validUntil }]
    await hub.query('update webhook_route set secret_windows = $2 where id = $1', [
      route.id,
      JSON.stringify(windows),
    ])
    await hub.routes.refresh()
    const outcomes = []
    for (const at of [NOW - 1, NOW, NOW + DAY - 1, NOW + DAY]) {
      now = at
      const [next, first] = ['whsec_next', 'whsec_first'].map((secret) => stripeEvent('acct_w', secret))
      if (!next || !first) throw new Error('no events')
      outcomes.push([await answerTo(stripe, next), await answerTo(stripe, first)])
    }
    expect(outcomes).toEqual([
      ['signature_invalid', 'taken'],
      ['taken', 'taken'],
      ['taken', 'taken'],
      ['signature_invalid', 'taken'],
    ])
    const told = captured.lines().filter(({ msg }) => String(msg).includes('outside of its window'))
    expect(told).toMatchObject([
      { tenant_id: a, route_id: route.id, secret_ref: 'next' },
      { tenant_id: a, route_id: route.id, secret_ref: 'next' },
    ])
  })
})

describe('the time of a refusal', () => {
  it('is that of as many checks whether the account is known or not, in peace and in a flood', async () => {
    for (let number = 1; number <= 5; number += 1)
      await hub.route(number % 2 === 0 ? a : b, { secret: `whsec_${number}`, account: `acct_${number}` })
    await hub.route(a, { secret: 'whsec_own' })
    await hub.routes.refresh()
    const checksFor = async (account: string | undefined) => {
      const provider = counting(stripe)
      expect(await answerTo(provider, stripeEvent(account, 'whsec_wrong'))).toBe('signature_invalid')
      return provider.checks
    }
    now += 1_000
    expect([await checksFor('acct_1'), await checksFor('acct_x'), await checksFor('acct_5')]).toEqual([
      6, 6, 6,
    ])
    for (let sent = 3; sent < 20; sent += 1) await checksFor('acct_x')
    expect([await checksFor('acct_1'), await checksFor('acct_x'), await checksFor(undefined)]).toEqual([
      1, 1, 1,
    ])
    now += 1_000
    expect(await checksFor('acct_x')).toBe(6)
  })

  it('is bounded, however many routes a provider has', async () => {
    for (let number = 1; number <= 60; number += 1)
      await hub.route(a, { secret: `whsec_${number}`, account: `acct_${number}` })
    now += 1_000
    const provider = counting(stripe)
    expect(await answerTo(provider, stripeEvent('acct_x', 'whsec_wrong'))).toBe('signature_invalid')
    // The newest 50, and what a claim older than those would cost.
    expect(provider.checks).toBe(51)
    // The newest routes are asked first.
    expect(await answerTo(stripe, stripeEvent('acct_x', 'whsec_60'))).toBe('quarantined')
    expect(await answerTo(stripe, stripeEvent('acct_x', 'whsec_1'))).toBe('signature_invalid')
  })
})

it('a flood of refusals is counted exactly and logged seldom, with how many were not', async () => {
  now += 60_000
  const told = () => captured.lines().filter(({ msg }) => msg === 'a webhook was refused')
  const labels = { provider: 'stripe', cause: 'unknown_account' }
  const [before, counted] = [told().length, await metric('webhooks_refused_total', labels)]
  const flood = async (requests: number) => {
    for (let sent = 0; sent < requests; sent += 1)
      await answerTo(stripe, stripeEvent('acct_x', 'whsec_wrong'))
  }
  await flood(12)
  expect(told()).toHaveLength(before + 5)
  now += 10_000
  await flood(1)
  expect(told()).toHaveLength(before + 6)
  expect(told().at(-1)).toMatchObject({ cause: 'unknown_account', untold: 7 })
  expect(await metric('webhooks_refused_total', labels)).toBe(counted + 13)
})

describe('a request with several events', () => {
  const KEY = '44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056'
  const merchants = (...names: string[]): SignedSample => {
    const items = names.map((name, at) =>
      adyenItem({ merchantAccountCode: name, pspReference: `psp-${newId()}-${at}` }),
    )
    return { body: adyenBody(items, false, KEY), headers: { 'content-type': 'application/json' }, url: '' }
  }
  const ownersOf = async () =>
    (
      await hub.query<{ tenant_id: string; account: string; body: string }>(
        `select i.tenant_id, i.account, convert_from(p.body, 'UTF8') as body from webhook_inbox i
         join webhook_payload p using (tenant_id, id) where provider = 'adyen' order by account`,
      )
    ).map(({ tenant_id, account, body }) => [tenant_id, account, body.match(/Merchant_[A-Z]/g)])

  it('is checked once by each route, and gives each workspace its own part and nothing of the others', async () => {
    await hub.route(a, { provider: 'adyen', secret: KEY, account: 'Merchant_A' })
    await hub.route(b, { provider: 'adyen', secret: KEY, account: 'Merchant_B' })
    await hub.routes.refresh()
    const kept = hub.quarantined.length
    const [taken, refused] = [
      await metric('webhooks_accepted_total', { provider: 'adyen' }),
      await metric('webhooks_refused_total', { provider: 'adyen' }),
    ]
    const provider = counting(adyen)
    const answer = await accept(provider, merchants('Merchant_A', 'Merchant_B', 'Merchant_X', 'Merchant_A'))
    expect(answer).toMatchObject({ kind: 'taken', events: { length: 3 } })
    expect(provider.checks).toBe(2)
    expect(await ownersOf()).toEqual([
      [a, 'Merchant_A', ['Merchant_A']],
      [a, 'Merchant_A', ['Merchant_A']],
      [b, 'Merchant_B', ['Merchant_B']],
    ])
    expect(hub.quarantined.slice(kept).map(({ refused: each }) => each)).toMatchObject([
      [{ cause: 'unknown_account', authentic: true, event: { accounts: ['Merchant_X'] } }],
    ])
    // Each event counts, and each once.
    expect(await metric('webhooks_accepted_total', { provider: 'adyen' })).toBe(taken + 3)
    expect(await metric('webhooks_refused_total', { provider: 'adyen' })).toBe(refused + 1)
  })

  it('is sent again when one of them finds no room, and what was taken is then a duplicate', async () => {
    await hub.query(`delete from webhook_inbox where provider = 'adyen'`)
    await hub.route(a, { provider: 'adyen', secret: KEY, account: 'Merchant_A' })
    await hub.routes.refresh()
    const request = merchants('Merchant_A', 'Merchant_X')
    full = true
    expect(await answerTo(adyen, request)).toBe('webhook_unavailable')
    full = false
    expect(await accept(adyen, request)).toMatchObject({ kind: 'taken', events: [{ duplicate: true }] })
    expect(await ownersOf()).toEqual([[a, 'Merchant_A', ['Merchant_A']]])
  })

  it('is refused as a whole when nothing verifies it', async () => {
    await hub.query(`delete from webhook_inbox where provider = 'adyen'`)
    await hub.route(a, { provider: 'adyen', secret: 'ab'.repeat(32), account: 'Merchant_A' })
    expect(await answerTo(adyen, merchants('Merchant_A', 'Merchant_X'))).toBe('signature_invalid')
    expect(await ownersOf()).toEqual([])
  })
})

describe('a question whether we are there', () => {
  const question = (secret: string): SignedSample => {
    const body = slackSample.question?.body ?? expect.unreachable('Slack asks')
    return { body, headers: slackSignature(body, secret, now), url: '' }
  }

  it('is answered to whoever knows the secret of the route, or of any when it goes to none', async () => {
    const route = await hub.route(a, { provider: 'slack', secret: 'one' })
    const other = await hub.route(b, { provider: 'slack', secret: 'two' })
    const said = { kind: 'handshake', reply: { body: slackSample.question?.answer } }
    expect(await accept(slack, question('one'))).toMatchObject(said)
    expect(await accept(slack, question('two'), other.id)).toMatchObject(said)
    expect(await answerTo(slack, question('one'), other.id)).toBe('signature_invalid')
    expect(await answerTo(slack, question('one'), newId())).toBe('signature_invalid')
    expect(await answerTo(slack, question('three'))).toBe('signature_invalid')
    expect(await answerTo(slack, question('one'), route.id)).toBe('handshake')
    expect(await hub.query(`select from webhook_inbox where provider = 'slack'`)).toEqual([])
  })
})

it('an account that changes hands during its events has each of them in one workspace', async () => {
  const secret = 'whsec_of_both'
  const claim = async (tenantId: string) => hub.route(tenantId, { secret, account: 'acct_moving' })
  let route = await claim(a)
  const sending: Promise<string>[] = []
  const sendSome = () => {
    for (let some = 0; some < 12; some += 1)
      sending.push(answerTo(stripe, stripeEvent('acct_moving', secret, `evt_moving_${sending.length}`)))
  }
  for (const tenantId of [b, a, b, a, b]) {
    sendSome()
    await hub.query('delete from webhook_route where id = $1', [route.id])
    sendSome()
    route = await claim(tenantId)
  }
  const answers = await Promise.all(sending)
  const rows = await hub.query<{ event_id: string; owners: number }>(
    `select event_id, count(distinct tenant_id)::int as owners from webhook_inbox
     where event_id like 'evt_moving_%' group by event_id`,
  )
  expect(rows.filter(({ owners }) => owners !== 1)).toEqual([])
  expect(rows).toHaveLength(answers.filter((answer) => answer === 'taken').length)
  expect(answers.filter((answer) => answer !== 'taken' && answer !== 'signature_invalid')).toEqual([])
})
