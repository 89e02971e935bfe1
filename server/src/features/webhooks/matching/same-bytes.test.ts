/** The same signed bytes are the same event, whatever anybody writes around them. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { slackSignature } from '../../../../testing/webhook-samples/slack.ts'
import { slack } from '../providers/slack.ts'

/** Of one app that two workspaces have installed. */
const SECRET = '8f742231b10e8888abcd99yyyzzz85a5'

let database: TestDatabase
let hub: WebhookHub

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform)
  for (const account of ['T1', 'T2']) {
    const tenantId = await hub.workspace(`team-${account.toLowerCase()}-dev`)
    await hub.route(tenantId, { provider: 'slack', account, secret: SECRET })
  }
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

const hidden = encodeURIComponent(
  JSON.stringify({ type: 'event_callback', team_id: 'T2', event_id: 'EvHidden', event: { type: 'message' } }),
)
const raw = Buffer.from(
  JSON.stringify({
    ...{ type: 'event_callback', team_id: 'T1', event_id: 'Ev1', event_time: Math.floor(Date.now() / 1000) },
    // What anybody in the team can write.
    event: { type: 'message', text: `hello&payload=${hidden}&z=` },
  }),
)

const send = (contentType: string | undefined) =>
  hub.accept({
    ...{ provider: slack, routeId: undefined, raw, url: undefined },
    headers: {
      ...Object.fromEntries(
        Object.entries(slackSignature(raw, SECRET, Date.now())).map(([name, value]) => [name, [value]]),
      ),
      ...(contentType && { 'content-type': [contentType] }),
    },
    call: { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' },
  })

it('a message with a form in it stays the event of its team under every content type', async () => {
  const types = ['application/json', 'application/x-www-form-urlencoded', 'text/plain', undefined]
  const answers = []
  for (const type of types) answers.push(await send(type))
  const [first] = answers
  expect(answers).toEqual(
    types.map((_type, at) => ({
      kind: 'taken',
      events: [
        expect.objectContaining({
          inboxId: first?.kind === 'taken' ? first.events[0]?.inboxId : undefined,
          duplicate: at > 0,
        }),
      ],
    })),
  )
  const rows = await hub.query('select event_id, account from webhook_inbox')
  expect(rows).toEqual([{ event_id: 'Ev1', account: 'T1' }])
})
