import { createHmac } from 'node:crypto'
import type { WebhookSample } from '../webhook-sample.ts'

/** What the tests change of an item of a notification. */
export interface AdyenItem {
  readonly additionalData: Record<string, string>
  readonly pspReference: string
  readonly originalReference?: string
  readonly merchantAccountCode: string
  readonly merchantReference: string
  readonly amount: { readonly value: number; readonly currency: string }
  readonly eventCode: string
  readonly eventDate: string
  readonly success: string
}

interface Notification {
  readonly live: string
  readonly notificationItems: { readonly NotificationRequestItem: AdyenItem }[]
}

/** As docs.adyen.com/development-resources/webhooks/verify-hmac-signatures says it. */
export function adyenSignature(item: AdyenItem, key: string): string {
  const { pspReference, originalReference = '', merchantAccountCode, merchantReference } = item
  const { amount, eventCode, success } = item
  const text = `${pspReference}:${originalReference}:${merchantAccountCode}:${merchantReference}:${amount.value}:${amount.currency}:${eventCode}:${success}`
  return createHmac('sha256', Buffer.from(key, 'hex')).update(text, 'utf8').digest('base64')
}

export const adyenItem = (change: Partial<AdyenItem> = {}): AdyenItem => ({
  additionalData: { expiryDate: '12/2030', cardSummary: '7777' },
  amount: { currency: 'EUR', value: 1_130 },
  eventCode: 'AUTHORISATION',
  eventDate: '2026-11-21T12:59:59+01:00',
  merchantAccountCode: 'SampleMerchant',
  merchantReference: 'Käse ☕',
  pspReference: '7914073381342284',
  success: 'true',
  ...change,
})

/** A notification of these items, signed with the key; pretty, as nobody would write it again. */
export const adyenBody = (items: readonly AdyenItem[], live: boolean, key?: string): Buffer =>
  Buffer.from(
    JSON.stringify(
      {
        live: String(live),
        notificationItems: items.map((item) => ({
          NotificationRequestItem: key
            ? {
                ...item,
                additionalData: { ...item.additionalData, hmacSignature: adyenSignature(item, key) },
              }
            : item,
        })),
      } satisfies Notification,
      null,
      2,
    ),
  )

const readBody = (body: Buffer): Notification => JSON.parse(body.toString('utf8')) as Notification

const signatureIn = (body: Buffer): string =>
  readBody(body).notificationItems[0]?.NotificationRequestItem.additionalData.hmacSignature ?? ''

function withSignature(body: Buffer, hmacSignature: string | undefined): Buffer {
  const { live, notificationItems } = readBody(body)
  const items = notificationItems.map(({ NotificationRequestItem: item }) => {
    const { hmacSignature: _, ...others } = item.additionalData
    return {
      ...item,
      additionalData: { ...others, ...(hmacSignature !== undefined && { hmacSignature }) },
    }
  })
  return adyenBody(items, live === 'true')
}

export const adyen: WebhookSample = {
  secrets: [
    '44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056',
    '0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9',
  ],
  signature: { read: signatureIn, write: withSignature },
  toleranceMs: { no: 'what Adyen signs has no time in it' },
  severalSignatures: { no: 'an item has room for one signature' },
  allBytesSigned: { no: 'eight fields of each item are signed, not the body' },
  livemode: true,
  account: true,
  body: ({ id, type, account, livemode = false } = {}) =>
    adyenBody(
      [
        adyenItem({
          ...(id !== undefined && { pspReference: id }),
          ...(type !== undefined && { eventCode: type }),
          ...(account !== undefined && { merchantAccountCode: account }),
        }),
      ],
      livemode,
    ),
  sign: ({ body, secrets: [key = ''], url }) => {
    const { live, notificationItems } = readBody(body)
    const items = notificationItems.map(({ NotificationRequestItem: item }) => item)
    return {
      body: adyenBody(items, live === 'true', key),
      headers: { 'content-type': 'application/json; charset=utf-8' },
      url,
    }
  },
}
