import { describe, expect, it } from 'vitest'
import {
  adyenBody,
  adyenItem,
  adyenSignature,
  adyen as sample,
} from '../../../../testing/webhook-samples/adyen.ts'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import { adyen } from './adyen.ts'

const KEY = sample.secrets[0]
const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const request = (raw: Buffer) => ({ raw, headers: {}, url: undefined, nowMs: 0 })
const verdictOf = async (raw: Buffer, key = KEY) => {
  const verdict = await adyen.verify(request(raw), [new Secret(key)], {}, tools)
  return verdict.verified || verdict.cause
}
const eventsOf = (raw: Buffer) => adyen.events(adyen.parse(raw), request(raw), {})

/** The vector of Adyen's own library. */
const published = adyenItem({
  pspReference: '7914073381342284',
  originalReference: '',
  merchantAccountCode: 'TestMerchant',
  merchantReference: 'TestPayment-1407325143704',
  amount: { value: 1_130, currency: 'EUR' },
  eventCode: 'AUTHORISATION',
  success: 'true',
  additionalData: { hmacSignature: 'coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=' },
})

describe('the signature', () => {
  it('fits the vector of the library, also when the field that may be missing is', async () => {
    expect(await verdictOf(adyenBody([published], false))).toBe(true)
    const { originalReference: _, ...without } = published
    expect(await verdictOf(adyenBody([without], false))).toBe(true)
  })

  it.each([
    ['pspReference', { pspReference: '7914073381342285' }],
    ['originalReference', { originalReference: '1' }],
    ['merchantAccountCode', { merchantAccountCode: 'OtherMerchant' }],
    ['merchantReference', { merchantReference: 'TestPayment-1' }],
    ['amount.value', { amount: { value: 1_131, currency: 'EUR' } }],
    ['amount.currency', { amount: { value: 1_130, currency: 'USD' } }],
    ['eventCode', { eventCode: 'CANCELLATION' }],
    ['success', { success: 'false' }],
  ])('covers %s', async (_field, change) => {
    expect(await verdictOf(adyenBody([{ ...published, ...change }], false))).toBe('signature_mismatch')
  })

  it('holds for one way of cutting the text into fields', async () => {
    const item = adyenItem({ merchantAccountCode: 'One', merchantReference: 'Two:x' })
    const hmacSignature = adyenSignature(item, KEY)
    const moved = { merchantAccountCode: 'One:Two', merchantReference: 'x' }
    expect(adyenSignature({ ...item, ...moved }, KEY)).toBe(hmacSignature)
    for (const [change, verdict] of [
      [{}, true],
      [moved, 'signature_malformed'],
    ] as const)
      expect(
        await verdictOf(adyenBody([{ ...item, ...change, additionalData: { hmacSignature } }], false)),
      ).toBe(verdict)
  })

  it.each([
    ['pspReference', { pspReference: '1:2' }],
    ['originalReference', { originalReference: ':' }],
    ['merchantAccountCode', { merchantAccountCode: 'a:' }],
    ['amount.currency', { amount: { value: 1, currency: 'EUR:A' } }],
    ['eventCode', { eventCode: 'A:true' }],
    ['success', { success: 'true:' }],
  ])('is refused over a colon in %s', async (_field, change) => {
    expect(await verdictOf(adyenBody([adyenItem(change)], false, KEY))).toBe('signature_malformed')
  })

  it('is not over an amount that JavaScript rounds', async () => {
    const body = adyenBody([adyenItem({ amount: { value: 2 ** 60, currency: 'EUR' } })], false, KEY)
    expect(await verdictOf(body)).toBe('signature_malformed')
  })

  it('must be right for every item of a request', async () => {
    const two = [adyenItem(), adyenItem({ pspReference: '2' })]
    expect(await verdictOf(adyenBody(two, false, KEY))).toBe(true)
    const signed = JSON.parse(adyenBody([adyenItem()], false, KEY).toString('utf8')) as {
      notificationItems: { NotificationRequestItem: ReturnType<typeof adyenItem> }[]
    }
    const [{ NotificationRequestItem: item } = { NotificationRequestItem: published }] =
      signed.notificationItems
    expect(await verdictOf(adyenBody([item, published], false))).toBe(true)
    expect(await verdictOf(adyenBody([item, { ...published, success: 'false' }], false))).toBe(
      'signature_mismatch',
    )
    expect(await verdictOf(adyenBody([item, adyenItem()], false))).toBe('signature_missing')
  })

  it.each(['', 'no hex', KEY.slice(0, -1), `${KEY}0`, KEY.slice(0, 2)])(
    'is never by the key %j',
    async (key) => {
      expect(await verdictOf(adyenBody([adyenItem()], false, key), key)).not.toBe(true)
    },
  )
})

describe('the events', () => {
  it('are one for each item, each with a part that can be verified by itself', async () => {
    const items = [
      adyenItem({ merchantAccountCode: 'One' }),
      adyenItem({ merchantAccountCode: 'Two', eventCode: 'REFUND', success: 'false' }),
    ]
    const events = eventsOf(adyenBody(items, true, KEY))
    expect(events).toMatchObject([
      { eventId: '7914073381342284.AUTHORISATION.true', accounts: ['One'], livemode: true },
      { eventId: '7914073381342284.REFUND.false', type: 'REFUND', accounts: ['Two'], livemode: true },
    ])
    for (const [at, { part }] of events.entries()) {
      expect(JSON.parse(part?.bytes.toString('utf8') ?? '')).toEqual(part?.payload)
      expect(await verdictOf(part?.bytes ?? Buffer.alloc(0))).toBe(true)
      expect(part?.bytes.toString('utf8')).not.toContain(at === 0 ? 'Two' : 'One')
    }
  })

  it('have numbers in their parts as they came', () => {
    const item = (id: string) => adyenItem({ pspReference: id, originalReference: 'NUMBER' })
    const body = adyenBody([item('1'), item('2')], true, KEY)
    const raw = Buffer.from(body.toString('utf8').replaceAll('"NUMBER"', '12345678901234567890'))
    for (const { part } of eventsOf(raw))
      expect(part?.bytes.toString('utf8')).toContain(':12345678901234567890}')
  })

  it('keep the bytes of a request that has one', () => {
    const [event] = eventsOf(adyenBody([adyenItem()], false, KEY))
    expect(event?.part).toBeUndefined()
    expect(event?.occurredAt).toEqual(new Date('2026-11-21T11:59:59Z'))
  })

  it('are at most a hundred', () => {
    expect(() =>
      eventsOf(
        adyenBody(
          Array.from({ length: 101 }, () => adyenItem()),
          false,
        ),
      ),
    ).toThrow(Problem)
  })

  it.each([
    ['live', { live: 'perhaps' }],
    ['notificationItems', { notificationItems: [] }],
    ['notificationItems', { notificationItems: [{}] }],
    ['pspReference', { item: { pspReference: 7 } }],
    ['eventCode', { item: { eventCode: null } }],
    ['merchantAccountCode', { item: { merchantAccountCode: undefined } }],
    ['eventDate', { item: { eventDate: 'yesterday' } }],
  ])('are refused with another %s: %j', (field, { item, ...change }: Record<string, unknown>) => {
    const NotificationRequestItem = { ...adyenItem(), ...(item as object | undefined) }
    const body = { live: 'false', notificationItems: [{ NotificationRequestItem }], ...change }
    const refused = () => eventsOf(Buffer.from(JSON.stringify(body)))
    expect(refused).toThrow(Problem)
    try {
      refused()
    } catch (error) {
      expect((error as Problem).extra.details?.[0]?.path).toMatch(new RegExp(`/${field}$`))
    }
  })
})

it('is answered as Adyen wants it', () => {
  expect(adyen.reply).toMatchObject({ status: 200, body: '[accepted]' })
})
