import { createHmac } from 'node:crypto'
import type { WebhookSample } from '../webhook-sample.ts'

export const slackSignature = (body: Buffer, secret: string, atMs: number): Record<string, string> => {
  const timestamp = String(Math.floor(atMs / 1_000))
  const signed = Buffer.concat([Buffer.from(`v0:${timestamp}:`), body])
  return {
    'x-slack-request-timestamp': timestamp,
    'x-slack-signature': `v0=${createHmac('sha256', secret).update(signed).digest('hex')}`,
  }
}

export const slack: WebhookSample = {
  secrets: ['8f742231b10e8888abcd99yyyzzz85a5', '0123456789abcdef0123456789abcdef'],
  signature: { header: 'x-slack-signature' },
  toleranceMs: 300_000,
  severalSignatures: { no: 'An app has one signing secret, and a request one signature of it.' },
  allBytesSigned: true,
  account: true,
  livemode: { no: 'Slack has no test mode: every event is of a real team.' },
  question: {
    body: Buffer.from('{"token": "XXYYZZ", "challenge": "3eZbrw1aBm2rZgRN", "type": "url_verification"}'),
    answer: '{"challenge":"3eZbrw1aBm2rZgRN"}',
  },
  body: ({ id = 'Ev0PV52K21', type = 'app_mention', account } = {}) =>
    Buffer.from(
      JSON.stringify(
        {
          token: 'XXYYZZ',
          ...(account !== undefined && { team_id: account }),
          event: { type, user: 'U061F7AUR', text: 'Käse ☕', ts: '1515449522.000016' },
          type: 'event_callback',
          event_id: id,
          event_time: 1_795_262_400,
        },
        null,
        2,
      ),
    ),
  sign: ({ body, secrets: [secret = ''], atMs, url }) => ({
    body,
    url,
    headers: { 'content-type': 'application/json', ...slackSignature(body, secret, atMs) },
  }),
}

/** What somebody typed. */
const { question: _, ...likeEvents } = slack
export const slackCommand: WebhookSample = {
  ...likeEvents,
  secrets: ['11112222333344445555666677778888', '88887777666655554444333322221111'],
  body: ({ id = '398738663015.47445629121.803a', account } = {}) =>
    Buffer.from(
      new URLSearchParams({
        token: 'XXYYZZ',
        ...(account !== undefined && { team_id: account }),
        command: '/cheese',
        text: 'Käse ☕ & more = 100 %20',
        trigger_id: id,
      })
        .toString()
        .replaceAll('+', '%20'),
    ),
  sign: (unsigned) => {
    const signed = slack.sign(unsigned)
    return { ...signed, headers: { ...signed.headers, 'content-type': 'application/x-www-form-urlencoded' } }
  },
}
