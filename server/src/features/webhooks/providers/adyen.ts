import { createHmac } from 'node:crypto'
import { parseExactJson, parseJson } from '../../../platform/http/json-body.ts'
import { equalInConstantTime, type Secret } from '../../../platform/secret.ts'
import {
  defineProvider,
  notAnEvent,
  type ProviderEvent,
  type Verdict,
  type VerifyFailure,
} from '../provider.ts'
import { type Fields, isObject, momentOf } from '../provider-parts/request-body.ts'

/** Base64 of 32 bytes. */
const SIGNATURE = /^[A-Za-z0-9+/]{43}=$/
/** Adyen gives the key as hex; anything else would be read as a shorter key, or as none. */
const KEY = /^[0-9a-fA-F]{64}$/

const textOf = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''

/** The items of a request; undefined for what is no notification. */
function itemsOf(parsed: unknown): readonly Fields[] | undefined {
  const wrapped = isObject(parsed) ? parsed.notificationItems : undefined
  if (!Array.isArray(wrapped) || wrapped.length === 0) return undefined
  const items = wrapped.map((each: unknown) => (isObject(each) ? each.NotificationRequestItem : undefined))
  return items.every(isObject) ? items : undefined
}

/**
 * The eight fields that are signed; what is missing counts as empty. Adyen joins them as they are, so a colon in them
 * would let the same signed text be cut into other fields: only the merchant's own reference may have one, which then
 * is what is between the third colon and the fourth from the end. Undefined for others, and for a number that is rounded.
 */
function signedText(item: Fields): string | undefined {
  const amount = isObject(item.amount) ? item.amount : {}
  const before = [item.pspReference, item.originalReference, item.merchantAccountCode].map(textOf)
  const after = [amount.value, amount.currency, item.eventCode, item.success].map(textOf)
  if ([...before, ...after].some((text) => text.includes(':'))) return undefined
  if (typeof amount.value === 'number' && !Number.isSafeInteger(amount.value)) return undefined
  return [...before, textOf(item.merchantReference), ...after].join(':')
}

interface SignedItem {
  readonly text: string
  readonly signature: string
}

function signedItems(raw: Buffer): readonly SignedItem[] | VerifyFailure {
  const items = itemsOf(parsedOrNothing(raw))
  if (!items) return 'signature_malformed'
  const signed: SignedItem[] = []
  for (const item of items) {
    const signature = isObject(item.additionalData) ? item.additionalData.hmacSignature : undefined
    if (signature === undefined || signature === '') return 'signature_missing'
    if (typeof signature !== 'string' || !SIGNATURE.test(signature)) return 'signature_malformed'
    const text = signedText(item)
    if (text === undefined) return 'signature_malformed'
    signed.push({ text, signature })
  }
  return signed
}

function parsedOrNothing(raw: Buffer): unknown {
  try {
    return parseJson(raw)
  } catch {
    return undefined
  }
}

/** All of them: a forged item must not come in beside a true one. */
function signsAll(secret: Secret, items: readonly SignedItem[]): boolean {
  if (!KEY.test(secret.reveal())) return false
  const key = Buffer.from(secret.reveal(), 'hex')
  return (
    items.filter(({ text, signature }) =>
      equalInConstantTime(createHmac('sha256', key).update(text).digest('base64'), signature),
    ).length === items.length
  )
}

function verify({ raw }: { readonly raw: Buffer }, secrets: readonly Secret[]): Verdict {
  const items = signedItems(raw)
  if (typeof items === 'string') return { verified: false, cause: items }
  const secret = secrets.find((candidate) => signsAll(candidate, items))
  return secret ? { verified: true, secret } : { verified: false, cause: 'signature_mismatch' }
}

function readEvent(item: Fields, at: number): Omit<ProviderEvent, 'livemode'> {
  const fault = (field: string, message: string) =>
    notAnEvent({ path: `/body/notificationItems/${at}/NotificationRequestItem/${field}`, message })
  const { pspReference, eventCode, merchantAccountCode } = item
  if (typeof pspReference !== 'string') throw fault('pspReference', 'must be a text')
  if (typeof eventCode !== 'string') throw fault('eventCode', 'must be a text')
  if (typeof merchantAccountCode !== 'string') throw fault('merchantAccountCode', 'must be a text')
  const occurredAt = momentOf(Date.parse(textOf(item.eventDate)))
  if (!occurredAt) throw fault('eventDate', 'must be a time between 1970 and 2100')
  return {
    eventId: `${pspReference}.${eventCode}.${textOf(item.success)}`,
    type: eventCode,
    accounts: [merchantAccountCode],
    occurredAt,
  }
}

/** A request with this item alone, as Adyen writes it: its signature can be checked again. */
function partOf(live: unknown, item: Fields): NonNullable<ProviderEvent['part']> {
  const payload = { live, notificationItems: [{ NotificationRequestItem: item }] }
  return { payload, bytes: Buffer.from(JSON.stringify(payload)) }
}

function readEvents(parsed: unknown): readonly ProviderEvent[] {
  const items = itemsOf(parsed)
  if (!items || !isObject(parsed))
    throw notAnEvent({ path: '/body/notificationItems', message: 'must be a list of notifications' })
  const { live } = parsed
  const livemode = textOf(live)
  if (livemode !== 'true' && livemode !== 'false')
    throw notAnEvent({ path: '/body/live', message: 'must be "true" or "false"' })
  return items.map((item, at) => ({
    ...readEvent(item, at),
    livemode: livemode === 'true',
    ...(items.length > 1 && { part: partOf(live, item) }),
  }))
}

/**
 * Adyen: standard webhooks, with several events in one request. Each item is signed by itself, over eight of its
 * fields, so `live` is believed only because test and live have different keys. What is signed has no time in it.
 * Source: docs.adyen.com/development-resources/webhooks/verify-hmac-signatures.
 */
export const adyen = defineProvider({
  name: 'adyen',
  title: 'Adyen',
  keptHeaders: [],
  // One key signs for every merchant account of the company that it was made for.
  accounts: 'any',
  // Parts of requests are written again: numbers in them as they came.
  parse: parseExactJson,
  verify,
  events: readEvents,
  reply: { status: 200, contentType: 'text/plain; charset=utf-8', body: '[accepted]' },
})
