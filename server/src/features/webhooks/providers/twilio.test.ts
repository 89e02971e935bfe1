import { createHash, createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { twilioSignature } from '../../../../testing/webhook-samples/twilio.ts'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import type { SignedRequest } from '../provider.ts'
import { twilio } from './twilio.ts'

const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const NOW = Date.parse('2026-11-21T12:00:00Z')
const TOKEN = '12345'

const request = (url: string | undefined, body: string | Buffer, signature: string): SignedRequest => ({
  raw: Buffer.from(body),
  headers: { 'x-twilio-signature': [signature] },
  url,
  nowMs: NOW,
})
const verdictOf = async (signed: SignedRequest, token = TOKEN) => {
  const verdict = await twilio.verify(signed, [new Secret(token)], {}, tools)
  return verdict.verified || verdict.cause
}
const eventOf = (form: Record<string, string>) => {
  const signed = request(
    'https://hooks.example.com/webhooks/twilio',
    new URLSearchParams(form).toString(),
    '',
  )
  const [event] = twilio.events(twilio.parse(signed.raw), signed, {})
  return event
}

describe('the signature of a form', () => {
  const url = 'https://mycompany.com/myapp.php?foo=1&bar=2'
  const form =
    'To=%2B18005551212&Digits=1234&CallSid=CA1234567890ABCDE&Caller=%2B14158675309&From=%2B14158675309'
  const published = 'RSOYDt4T1cUTdK1PDd93/VVr8B8='

  it('fits the vector of the library', async () => {
    expect(await verdictOf(request(url, form, published))).toBe(true)
    expect(await verdictOf(request(url, form, published), '12346')).toBe('signature_mismatch')
    expect(await verdictOf(request(`${url}&baz=3`, form, published))).toBe('signature_mismatch')
    expect(await verdictOf(request(url, form.replace('1234', '1235'), published))).toBe('signature_mismatch')
  })

  it.each([
    ['https://a.example.com/w?x=1', 'https://a.example.com:443/w?x=1'],
    ['https://a.example.com:443/w?x=1', 'https://a.example.com/w?x=1'],
    ['http://a.example.com/w', 'http://a.example.com:80/w'],
    ['https://a.example.com:8443/w', 'https://a.example.com/w'],
    ['https://[2001:db8::1]:8443/w', 'https://[2001:db8::1]/w'],
  ])('is over %s with and without the port', async (known, signedOver) => {
    expect(await verdictOf(request(known, form, twilioSignature(known, form, TOKEN)))).toBe(true)
    expect(await verdictOf(request(known, form, twilioSignature(signedOver, form, TOKEN)))).toBe(true)
    const elsewhere = signedOver.replace('/w', '/other')
    expect(await verdictOf(request(known, form, twilioSignature(elsewhere, form, TOKEN)))).toBe(
      'signature_mismatch',
    )
  })

  it('counts each value of a field once, in their order', async () => {
    const signature = createHmac('sha1', TOKEN).update(`${url}MediaUrlaMediaUrlb`).digest('base64')
    expect(await verdictOf(request(url, 'MediaUrl=b&MediaUrl=a&MediaUrl=b', signature))).toBe(true)
  })

  it('needs the public address of the hub', async () => {
    expect(await verdictOf(request(undefined, form, published))).toBe('public_url_unknown')
  })

  it.each(['a=%ff', 'a=%f', 'a=\u00e4', 'a=\u0000'])('is not over what is no form: %j', async (body) => {
    const signature = twilioSignature(url, body, TOKEN)
    expect(await verdictOf(request(url, Buffer.from(body, 'latin1'), signature))).toBe('signature_mismatch')
    expect(() => twilio.parse(Buffer.from(body, 'latin1'))).toThrow(Problem)
  })
})

describe('the signature of JSON', () => {
  const body = JSON.stringify({ AccountSid: 'AC1', EventType: 'onMessageAdded' })
  const digest = createHash('sha256').update(body).digest('hex')
  const signed = (url: string) => createHmac('sha1', TOKEN).update(url).digest('base64')

  it('is over the address, which has the digest of the body', async () => {
    const url = `https://mycompany.com/w?bodySHA256=${digest}`
    expect(await verdictOf(request(url, body, signed(url)))).toBe(true)
    expect(await verdictOf(request(url, `${body} `, signed(url)))).toBe('signature_mismatch')
    const [event] = twilio.events(twilio.parse(Buffer.from(body)), request(url, body, ''), {})
    expect(event).toMatchObject({ type: 'onMessageAdded', accounts: ['AC1'] })
  })

  it('is worth nothing over an address without it', async () => {
    const url = 'https://mycompany.com/w?bodySHA256=00'
    expect(await verdictOf(request(url, body, signed(url)))).toBe('signature_mismatch')
  })
})

describe('the event', () => {
  const message = { AccountSid: 'AC1', MessageSid: 'SM1', MessageStatus: 'sent' }

  it('is another one for every status and for every digit that is pressed in a call', () => {
    const call = { AccountSid: 'AC1', CallSid: 'CA1', CallStatus: 'in-progress', Digits: '1' }
    const ids = [message, { ...message, MessageStatus: 'delivered' }, call, { ...call, Digits: '2' }].map(
      (form) => eventOf(form)?.eventId,
    )
    expect(new Set(ids).size).toBe(4)
  })

  it('is the same one however the signed text is cut into fields', async () => {
    const url = 'https://hooks.example.com/webhooks/twilio'
    const sent = 'AccountSid=AC1&MessageSid=SM1&MessageStatus=sent&To=1'
    const cut = 'AccountSid=AC1&MessageSid=SM1MessageStatussent&To=1'
    const signature = twilioSignature(url, sent, TOKEN)
    const idOf = (form: string) =>
      twilio.events(twilio.parse(Buffer.from(form)), request(url, form, ''), {})[0]?.eventId
    for (const form of [sent, cut, 'AccountSid=AC1&MessageSid=SM1MessageStatussentTo1']) {
      expect(await verdictOf(request(url, form, signature))).toBe(true)
      expect(idOf(form)).toBe(idOf(sent))
    }
  })

  it('is never read as JSON where a form is signed', async () => {
    const url = 'https://hooks.example.com/webhooks/twilio'
    const raw = '{"AccountSid":"AC2","a":"&AccountSid=AC1&Body=x","MessageSid":"SM2"}'
    const signature = twilioSignature(url, raw, TOKEN)
    expect(await verdictOf(request(url, raw, signature))).toBe('signature_mismatch')
  })

  it('is the same one in whatever order the fields are, and whatever the unsigned headers say', () => {
    const reversed = Object.fromEntries(Object.entries(message).reverse())
    expect(eventOf(reversed)?.eventId).toBe(eventOf(message)?.eventId)
  })

  it.each([
    [{ MessageSid: 'SM1', SmsStatus: 'received' }, 'message.received'],
    [{ CallSid: 'CA1', CallStatus: 'completed' }, 'call.completed'],
    [
      { CallSid: 'CA1', CallStatus: 'completed', RecordingSid: 'RE1', RecordingStatus: 'absent' },
      'recording.absent',
    ],
    [{ EventType: 'task.created' }, 'task.created'],
    [{ Digits: '7' }, 'callback'],
  ])('of %j is a %s', (fields, type) => {
    expect(eventOf({ AccountSid: 'AC1', ...(fields as Record<string, string>) })?.type).toBe(type)
  })

  it('is as old as Twilio says, or as its arrival', () => {
    const Timestamp = 'Sat, 21 Nov 2026 11:59:00 +0000'
    expect(eventOf({ ...message, Timestamp })?.occurredAt).toEqual(new Date('2026-11-21T11:59:00Z'))
    expect(eventOf(message)?.occurredAt).toEqual(new Date(NOW))
  })

  it('is none without an account', () => {
    expect(() => eventOf({ MessageSid: 'SM1', MessageStatus: 'sent' })).toThrow(Problem)
  })
})
