import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import Stripe from 'stripe'
import { describe, expect, it } from 'vitest'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import { stripe } from './stripe.ts'

const { webhooks } = new Stripe('sk_test_only_for_signing')

const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const signedWith = (raw: Buffer, header: string, nowMs: number) => ({
  ...{ raw, nowMs, url: undefined },
  headers: { 'stripe-signature': [header] },
})
const accepts = async (raw: Buffer, header: string, secret: string, nowMs: number): Promise<boolean> =>
  (await stripe.verify(signedWith(raw, header, nowMs), [new Secret(secret)], {}, tools)).verified

const eventOf = (parsed: unknown) => {
  const [event] = stripe.events(parsed, signedWith(Buffer.alloc(0), '', 0), {})
  return event
}

const theirs = (raw: Buffer, header: string, secret: string, nowMs: number): boolean => {
  try {
    return webhooks.signature?.verifyHeader(raw, header, secret, 300, undefined, nowMs) ?? false
  } catch {
    return false
  }
}

describe('the signature', () => {
  const secret = 'whsec_test_secret'
  const body = Buffer.from('{\n  "id": "evt_test_webhook",\n  "object": "event"\n}')
  const published = 't=1492774577,v1=c2f890decbc5ede7c5060bb9a6d31e0626a4342bacb9aeae2adb1bcea72f9812'

  it('fits the vector of the library', async () => {
    expect(await accepts(body, published, secret, 1_492_774_577_000)).toBe(true)
    expect(theirs(body, published, secret, 1_492_774_577_000)).toBe(true)
  })

  it('accepts whatever the library signs', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary', minLength: 1 }),
        fc.stringMatching(/^whsec_[A-Za-z0-9]{1,64}$/),
        fc.integer({ min: 1, max: 4_000_000_000 }),
        async (payload, key, timestamp) => {
          const raw = Buffer.from(payload)
          const header = webhooks.generateTestHeaderString({
            payload: raw.toString('utf8'),
            secret: key,
            timestamp,
          })
          return await accepts(raw, header, key, timestamp * 1000)
        },
      ),
    )
  })

  it('agrees with the library on headers that someone tampered with', async () => {
    const now = 1_492_774_577_000
    await fc.assert(
      fc.asyncProperty(
        fc.nat(published.length),
        fc.nat(3),
        fc.constantFrom('', ',', '=', '0', 'a', 'v1=', 't=', ' ', 'v0'),
        async (at, cut, insert) => {
          const header = published.slice(0, at) + insert + published.slice(at + cut)
          // We are stricter in one direction only: whatever we accept, the library accepts.
          return !(await accepts(body, header, secret, now)) || theirs(body, header, secret, now)
        },
      ),
      { numRuns: 2_000 },
    )
  })

  it('counts v1 only', async () => {
    const hex = published.slice(published.indexOf('v1=') + 3)
    expect(await accepts(body, `t=1492774577,v0=${hex}`, secret, 1_492_774_577_000)).toBe(false)
    expect(
      await accepts(body, `t=1492774577,v0=${'0'.repeat(64)},v1=${hex}`, secret, 1_492_774_577_000),
    ).toBe(true)
  })

  it.each(['t=1492774577,', 't=,', 't=-1,', 't=1e9,', 't=0x58f9,', ''])(
    'refuses a header whose time is %j or said twice',
    async (time) => {
      const hex = createHmac('sha256', secret).update('1492774577.').update(body).digest('hex')
      expect(await accepts(body, `t=1492774577,${time}v1=${hex}`, secret, 1_492_774_577_000)).toBe(
        time === '',
      )
      if (time !== 't=1492774577,') expect(await accepts(body, `${time}v1=${hex}`, secret, 0)).toBe(false)
    },
  )

  it('never accepts a secret with a line break in it', async () => {
    const key = 'whsec_from_a_file\n'
    const header = webhooks.generateTestHeaderString({ payload: body.toString(), secret: key, timestamp: 60 })
    expect(await accepts(body, header, key, 60_000)).toBe(false)
  })
})

describe('the event', () => {
  const snapshot = {
    id: 'evt_1',
    object: 'event',
    type: 'invoice.paid',
    livemode: false,
    created: 1_795_262_400,
  }
  const thin = {
    id: 'evt_test_65R',
    object: 'v2.core.event',
    type: 'v1.billing.meter.error_report_triggered',
    livemode: true,
    created: '2026-11-21T12:00:00.123Z',
  }

  it('is read from a snapshot event', () => {
    expect(eventOf(snapshot)).toEqual({
      eventId: 'evt_1',
      type: 'invoice.paid',
      accounts: [],
      livemode: false,
      occurredAt: new Date('2026-11-21T12:00:00Z'),
    })
  })

  it('is read from a thin event', () => {
    expect(eventOf(thin)).toEqual({
      eventId: 'evt_test_65R',
      type: 'v1.billing.meter.error_report_triggered',
      accounts: [],
      livemode: true,
      occurredAt: new Date('2026-11-21T12:00:00.123Z'),
    })
  })

  it.each([
    [{ account: 'acct_1' }, 'acct_1'],
    [{ account: 'acct_1', context: 'acct_1' }, 'acct_1'],
    [{ account: 'acct_1', context: 'org_1/acct_2' }, 'acct_1'],
    [{ context: 'acct_2' }, 'acct_2'],
    [{ context: 'org_1/acct_2' }, 'acct_2'],
    [{ account: null, context: null }, null],
  ])('belongs with %j to the account %j', (fields, account) => {
    expect(eventOf({ ...snapshot, ...fields })?.accounts).toEqual(account === null ? [] : [account])
  })

  it.each([
    [{ object: 'charge' }, '/body/object'],
    [{ id: undefined }, '/body/id'],
    [{ type: 5 }, '/body/type'],
    [{ livemode: 'false' }, '/body/livemode'],
    [{ livemode: null }, '/body/livemode'],
    [{ account: 7 }, '/body/account'],
    [{ account: '' }, '/body/account'],
    [{ context: 'org_1/' }, '/body/account'],
    [{ created: 'yesterday' }, '/body/created'],
    [{ created: -1 }, '/body/created'],
    [{ created: 1e15 }, '/body/created'],
    [{ created: '+275760-09-13T00:00:00Z' }, '/body/created'],
  ])('is refused with %j, naming %s', (fields, path) => {
    const refused = (): unknown => eventOf({ ...snapshot, ...fields })
    expect(refused).toThrow(Problem)
    try {
      refused()
    } catch (error) {
      expect((error as Problem).extra.details).toMatchObject([{ path }])
    }
  })
})
