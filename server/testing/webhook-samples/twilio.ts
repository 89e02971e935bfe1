import { createHash, createHmac } from 'node:crypto'
import type { WebhookSample } from '../webhook-sample.ts'

/** As twilio.com/docs/usage/webhooks/webhooks-security says it: the address, then the fields of the form by name. */
export function twilioSignature(url: string, form: string, token: string): string {
  const fields = [...new URLSearchParams(form)].sort(([left], [right]) => (left < right ? -1 : 1))
  return createHmac('sha1', token)
    .update(url + fields.map(([name, value]) => name + value).join(''), 'utf8')
    .digest('base64')
}

export const twilio: WebhookSample = {
  secrets: ['12345678901234567890123456789012', 'fedcba09876543210fedcba098765432'],
  signature: { header: 'x-twilio-signature' },
  toleranceMs: { no: 'what Twilio signs has no time in it' },
  severalSignatures: { no: 'there is one primary auth token, and one signature with it' },
  allBytesSigned: { no: 'the fields of a form are signed, not the way in which they are written' },
  livemode: { no: 'Twilio sends no webhooks for test credentials' },
  account: true,
  body: ({ id = 'SM0000000000000000000000000000sample', type = 'delivered', account = 'AC_sample' } = {}) =>
    Buffer.from(
      new URLSearchParams({
        MessageSid: id,
        MessageStatus: type,
        AccountSid: account,
        From: '+14158675309',
        To: '+18005551212',
        Body: 'Käse ☕ & more = 100 %',
      }).toString(),
    ),
  sign: ({ body, secrets: [token = ''], url }) => ({
    body,
    headers: {
      'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
      'i-twilio-idempotency-token': '2f2d44a3-3dd8-4a31-8a43-1f5cd2a0f4d5',
      'x-twilio-signature': twilioSignature(url, body.toString('latin1'), token),
    },
    url,
  }),
}

/** The digest of the body is in the address, and the address is signed. */
export const twilioJson: WebhookSample = {
  ...twilio,
  secrets: ['abcdefabcdefabcdefabcdefabcdef00', '00fedcbafedcbafedcbafedcbafedcba'],
  allBytesSigned: true,
  body: (event) => {
    const fields = new URLSearchParams(twilio.body(event).toString('latin1'))
    return Buffer.from(JSON.stringify(Object.fromEntries(fields), null, 2))
  },
  sign: ({ body, secrets: [token = ''], url }) => {
    const called = `${url}?bodySHA256=${createHash('sha256').update(body).digest('hex')}`
    return {
      body,
      headers: {
        'content-type': 'application/json',
        'x-twilio-signature': twilioSignature(called, '', token),
      },
      url: called,
    }
  },
}
