/** What forged requests cost, in bytes hashed: that a handful of them does not stall the ingress. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  type TestDatabase,
  type TestPlatform,
  testDatabase,
  testPlatform,
} from '../../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { receivedSample, signedSample } from '../../../../testing/webhook-sample.ts'
import { github as githubSample } from '../../../../testing/webhook-samples/github.ts'
import { stripe as stripeSample } from '../../../../testing/webhook-samples/stripe.ts'
import { systemClock } from '../../../platform/clock.ts'
import { newId } from '../../../platform/ids.ts'
import type { AnyProvider } from '../provider.ts'
import { github } from '../providers/github.ts'
import { stripe } from '../providers/stripe.ts'
import { createCheckBudget } from './check-budget.ts'

const MB = 1_000_000
const SAMPLES = { github: githubSample, stripe: stripeSample }

let database: TestDatabase
let platform: TestPlatform
let hub: WebhookHub
let now = Date.now()
const tenants: string[] = []

beforeAll(async () => {
  database = await testDatabase()
  platform = testPlatform(database.url, { clock: { ...systemClock, now: () => now } })
  hub = webhookHub(platform)
  for (let number = 0; number < 12; number += 1) tenants.push(await hub.workspace(`w${number}-dev`))
})
afterAll(async () => {
  await hub.close()
  await platform.notifications.close()
  await Promise.all([platform.db.close(), platform.requestDb.close(), platform.owner.close()])
  await database.drop()
})
beforeEach(async () => {
  now += 60_000
  await hub.query('delete from webhook_route')
})

const tenant = (at: number): string => tenants[at % tenants.length] ?? expect.unreachable('no workspace')

/** Sends an event padded with spaces; `hashed` are the bytes that were checked, once for each secret. */
async function send(real: AnyProvider, secret: string, bytes: number, account?: string) {
  const checks: number[] = []
  const provider: AnyProvider = {
    ...real,
    verify: (request, secrets, ...rest) => {
      checks.push(secrets.length * request.raw.length)
      return real.verify(request, secrets, ...rest)
    },
  }
  const sample = real === github ? SAMPLES.github : SAMPLES.stripe
  const event = { id: `evt_${newId()}`, ...(account !== undefined && { account }) }
  const small = sample.body(event)
  const body = Buffer.concat([small, Buffer.alloc(Math.max(0, bytes - small.length), 0x20)])
  const made = receivedSample(signedSample(sample, { event, body, secrets: [secret], atMs: now }), now)
  const call = { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' }
  const answer = await hub.accept({ ...made, provider, routeId: undefined, call }).then(
    ({ kind }) => kind as string,
    ({ code }: { code: string }) => code,
  )
  return { answer, checks: checks.length, hashed: checks.reduce((sum, each) => sum + each, 0) }
}

describe('a large forged request', () => {
  it('to accounts is checked by the route that claims them, and no other', async () => {
    for (let number = 0; number < 50; number += 1)
      await hub.route(tenant(number), { secret: `whsec_${number}`, account: `acct_${number}` })
    await hub.routes.refresh()
    for (const account of ['acct_1', 'acct_unknown']) {
      const { answer, hashed } = await send(stripe, 'whsec_wrong', 5 * MB, account)
      expect(answer).toBe('signature_invalid')
      expect(hashed).toBe(5 * MB)
    }
    // A small one of an account that nobody claims is still known to be from the provider.
    expect((await send(stripe, 'whsec_7', 2_000, 'acct_unknown')).answer).toBe('quarantined')
  })

  it('does not keep small ones from being found by their secret', async () => {
    for (let number = 0; number < 60; number += 1)
      await hub.route(tenant(number), { provider: 'github', secret: `secret-${number}` })
    await hub.routes.refresh()
    // The first one is checked, so that a genuine one would find its way.
    const first = await send(github, 'forged', 5 * MB, 'acme')
    expect(first.answer).toBe('signature_invalid')
    // Two accounts are named.
    expect(first.hashed).toBeLessThanOrEqual(52 * 5 * MB)
    const more = await Promise.all([1, 2, 3, 4, 5].map(() => send(github, 'forged', 5 * MB, 'acme')))
    expect(more.map(({ answer }) => answer)).toEqual(Array(5).fill('webhook_unavailable'))
    expect(more.reduce((sum, { hashed }) => sum + hashed, 0)).toBeLessThanOrEqual(5 * 2 * 5 * MB)
    expect((await send(github, 'secret-3', 20_000, 'acme')).answer).toBe('taken')
    // A large genuine one finds its way again when the debt is paid.
    expect((await send(github, 'secret-3', 5 * MB, 'acme')).answer).toBe('webhook_unavailable')
    now += 5_000
    expect((await send(github, 'secret-3', 5 * MB, 'acme')).answer).toBe('taken')
  })

  it('is answered the same while there is no budget, whether the account is known or not', async () => {
    for (let number = 0; number < 50; number += 1)
      await hub.route(tenant(number), { provider: 'github', secret: `secret-${number}` })
    await hub.route(tenant(0), { provider: 'github', secret: 'of-acme', account: 'acme' })
    await hub.routes.refresh()
    await send(github, 'forged', 5 * MB, 'acme')
    const answers = [
      (await send(github, 'forged', 5 * MB, 'acme')).answer,
      (await send(github, 'forged', 5 * MB, 'globex')).answer,
    ]
    expect(answers).toEqual(['webhook_unavailable', 'webhook_unavailable'])
    // What its claim verifies needs no budget.
    expect((await send(github, 'of-acme', 5 * MB, 'acme')).answer).toBe('taken')
  })

  it('lets others have their turn between two checks', async () => {
    for (let number = 0; number < 30; number += 1)
      await hub.route(tenant(number), { provider: 'github', secret: `secret-${number}` })
    await hub.routes.refresh()
    let turns = 0
    let over = false
    const count = () => {
      turns += 1
      if (!over) setImmediate(count)
    }
    setImmediate(count)
    await send(github, 'forged', 1_500_000, 'acme')
    over = true
    expect(turns).toBeGreaterThan(30)
  })
})

describe('a route that is found by its secret', () => {
  it('is one of the oldest, and of few of its workspace', async () => {
    const made = []
    for (let number = 0; number < 14; number += 1)
      made.push(await hub.route(tenant(0), { provider: 'github', secret: `first-${number}` }))
    await hub.route(tenant(1), { provider: 'github', secret: 'second' })
    await hub.routes.refresh()
    expect((await send(github, 'first-9', 2_000, 'acme')).answer).toBe('taken')
    expect((await send(github, 'first-10', 2_000, 'acme')).answer).toBe('quarantined')
    expect((await send(github, 'second', 2_000, 'acme')).answer).toBe('taken')
    expect((await send(github, 'second', 2_000, 'acme')).checks).toBe(11)
  })
})

describe('the time of a refusal', () => {
  it('is that of as many secrets whether the account is known or not', async () => {
    const more = ['b', 'c']
    for (const name of more) hub.secrets.set(`${tenant(0)}/${name}`, `whsec_${name}`)
    await hub.route(tenant(0), { secret: 'whsec_a', account: 'acct_three', secretRefs: more })
    await hub.route(tenant(1), { secret: 'whsec_one', account: 'acct_one' })
    await hub.routes.refresh()
    for (const bytes of [2_000, 300_000]) {
      const hashed = []
      for (const account of ['acct_three', 'acct_one', 'acct_unknown'])
        hashed.push((await send(stripe, 'whsec_wrong', bytes, account)).hashed)
      expect(new Set(hashed).size).toBe(1)
    }
  })
})

it('a budget is so much in a second, and one may go over it', () => {
  let at = 0
  const budget = createCheckBudget({ now: () => at }, 10_000_000)
  expect([budget.take('a', 25_000_000), budget.take('a', 1), budget.take('b', 1)]).toEqual([
    true,
    false,
    true,
  ])
  expect(budget.takeUnlessSmall('a', 1_000)).toBe(true)
  at = 1_400
  expect(budget.take('a', 1)).toBe(false)
  at = 1_600
  expect(budget.take('a', 1)).toBe(true)
  // Nothing is saved up beyond a second.
  at = 100_000
  expect([budget.take('a', 9_999_999), budget.take('a', 2), budget.take('a', 2)]).toEqual([true, true, false])
})
