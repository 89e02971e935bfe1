import { createHmac } from 'node:crypto'
import type { WebhookSample } from '../webhook-sample.ts'

export const github: WebhookSample = {
  secrets: ["It's a Secret to Everybody", 'another-secret-of-the-same-hook'],
  signature: { header: 'x-hub-signature-256' },
  toleranceMs: {
    no: 'GitHub signs the body alone and sends no time; X-GitHub-Delivery is what tells a repetition.',
  },
  severalSignatures: { no: 'A hook has one secret, and a request one signature of it.' },
  allBytesSigned: true,
  account: true,
  livemode: { no: 'GitHub has no test mode: every event is of a real repository.' },
  body: ({ type = 'issues.opened', account } = {}) => {
    const [, action] = type.split('.')
    return Buffer.from(
      JSON.stringify(
        {
          ...(action && { action }),
          issue: { number: 7, title: 'Käse ☕ is missing' },
          ...(account !== undefined && {
            repository: { id: 1, full_name: `${account}/shop`, owner: { login: account } },
            organization: { login: account },
          }),
          sender: { login: 'octocat' },
        },
        null,
        1,
      ),
    )
  },
  sign: ({
    event: { id = '72d3162e-cc78-11e3-81ab-4c9367dc0958', type = 'issues.opened' },
    body,
    secrets: [secret = ''],
    url,
  }) => ({
    body,
    url,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'GitHub-Hookshot/044aadd',
      'x-github-delivery': id,
      'x-github-event': type.split('.')[0] || 'issues',
      'x-github-hook-id': '292430182',
      'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
    },
  }),
}

/** A hook may be set to send forms. */
export const githubForm: WebhookSample = {
  ...github,
  secrets: ['secret-of-a-hook-with-forms', 'another-secret-of-a-hook-with-forms'],
  body: (event) => Buffer.from(`payload=${encodeURIComponent(github.body(event).toString('utf8'))}`),
  sign: (unsigned) => {
    const signed = github.sign(unsigned)
    return { ...signed, headers: { ...signed.headers, 'content-type': 'application/x-www-form-urlencoded' } }
  },
}
