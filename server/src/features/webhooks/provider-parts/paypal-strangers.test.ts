/** PayPal's certificates are fetched from outside: strangers must not decide when, nor whether genuine events are taken. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { receivedSample, signedSample, toolsOf } from '../../../../testing/webhook-sample.ts'
import { paypal as sample } from '../../../../testing/webhook-samples/paypal.ts'
import { newId } from '../../../platform/ids.ts'
import { paypal } from '../providers/paypal.ts'

let database: TestDatabase
let hub: WebhookHub
let fetched: string[] = []

beforeAll(async () => {
  database = await testDatabase()
  const { fetch } = toolsOf(sample)
  hub = webhookHub(database.platform, 'dev', undefined, undefined, {
    fetch: async (url) => {
      fetched.push(url)
      return url.includes('/CERT-forged') ? undefined : fetch?.(url)
    },
  })
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

let number = 0
async function send(of: { readonly routeId?: string; readonly certificate?: string } = {}): Promise<string> {
  number += 1
  const event = { id: `WH-${number}` }
  const { raw, headers, url } = receivedSample(signedSample(sample, { event, atMs: Date.now() }), Date.now())
  const certificate = of.certificate && { 'paypal-cert-url': [of.certificate] }
  const call = { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' }
  return hub
    .accept({
      ...{ provider: paypal, routeId: of.routeId, raw, url, call },
      headers: { ...headers, ...certificate },
    })
    .then(
      ({ kind }) => kind,
      ({ code }: { code: string }) => code,
    )
}
const forged = (id: string) => `https://api.sandbox.paypal.com/v1/notifications/certs/CERT-forged-${id}`

it('asks for nothing where no route of PayPal may have the event', async () => {
  expect(await send()).toBe('signature_invalid')
  const tenantId = await hub.workspace('paypal-dev')
  await hub.route(tenantId, { provider: 'paypal', secret: sample.secrets[0] })
  expect(await send({ routeId: newId() })).toBe('signature_invalid')
  expect(fetched).toEqual([])
})

it('takes a genuine event while strangers name certificates that there are not', async () => {
  fetched = []
  for (let at = 0; at < 12; at += 1)
    expect(await send({ certificate: forged(String(at)) })).toBe('signature_invalid')
  expect(await send({ certificate: forged('0') })).toBe('signature_invalid')
  expect(fetched).toHaveLength(12)
  expect(await send()).toBe('taken')
  const most = Array.from({ length: 60 }, (_none, at) => send({ certificate: forged(`more-${at}`) }))
  expect(new Set(await Promise.all(most))).toContain('webhook_unavailable')
  expect(await send()).toBe('taken')
})
