/** Everything that can be wrong with a webhook: its signature, its time, its route, its bytes. */
import { gzipSync } from 'node:zlib'
import { newId } from '../../server/src/platform/ids.ts'
import { stripe, stripeSignature } from '../../server/testing/webhook-samples/stripe.ts'
import type { BadRequest } from './parameters.ts'
import { signedEvent, type World } from './world.ts'

const REFUSED = ['signature_invalid']
const HEADER = 'stripe-signature'

/** Members of an event as JSON text; `undefined` leaves one out. */
function eventWith(changes: Readonly<Record<string, string | undefined>>): Buffer {
  const event = JSON.parse(stripe.body({ id: 'evt_bad' }).toString('utf8')) as Record<string, unknown>
  const members = Object.entries({
    ...Object.fromEntries(Object.entries(event).map(([name, value]) => [name, JSON.stringify(value)])),
    ...changes,
  })
  const texts = members.flatMap(([name, text]) =>
    text === undefined ? [] : [`${JSON.stringify(name)}:${text}`],
  )
  return Buffer.from(`{${texts.join(',')}}`)
}

/** Requests that are refused for who signed what, when and for whom: all with one and the same answer. */
export function badlySigned(world: World, stranger: World): BadRequest[] {
  const body = stripe.body({ id: 'evt_bad' })
  const { stripeSecret: secret, routeId } = world
  const now = Date.now()
  const good = String(signedEvent(body, secret).headers[HEADER])
  const time = /t=(\d+)/.exec(good)?.[1] ?? ''
  const hex = /v1=([0-9a-f]+)/.exec(good)?.[1] ?? ''
  const signature = (value: string | string[] | undefined): Record<string, string | string[]> =>
    value === undefined ? {} : { [HEADER]: value }
  const signatures: Readonly<Record<string, string | string[] | undefined>> = {
    missing: undefined,
    empty: '',
    garbage: 'garbage',
    'an old one': stripeSignature(body, [secret], now - 600_000),
    'one of the future': stripeSignature(body, [secret], now + 600_000),
    "another secret's": stripeSignature(body, ['whsec_of_nobody'], now),
    "another body's": stripeSignature(stripe.body({ id: 'evt_other' }), [secret], now),
    'too short': `t=${time},v1=${hex.slice(0, -2)}`,
    'too long': `t=${time},v1=${hex}00`,
    'one bit off': `t=${time},v1=${hex.slice(0, -1)}${hex.endsWith('0') ? '1' : '0'}`,
    'upper case': `t=${time},v1=${hex.toUpperCase()}`,
    'no time': `v1=${hex}`,
    'two times': `t=${time},t=${time},v1=${hex}`,
    'a time that is no number': `t=now,v1=${hex}`,
    'a huge time': `t=${'9'.repeat(40)},v1=${hex}`,
    'another scheme': `t=${time},v0=${hex}`,
    'no hex': `t=${time},v1=${'z'.repeat(64)}`,
    'a very long header': `t=${time},${`v1=${hex},`.repeat(100)}`,
    'sent twice': [good, good],
    'both of two, one of them bad': [good, 'garbage'],
  }
  const own = Object.entries(signatures).map(([name, value]) => ({
    name: `signature: ${name}`,
    headers: signature(value),
    body,
  }))
  const elsewhere = [
    // An account that nobody claims is no fault of the sender: it is kept in quarantine.
    { name: 'a live event', body: stripe.body({ id: 'evt_bad', livemode: true }) },
  ].map(({ name, body: bytes }) => ({ name, body: bytes, headers: signedEvent(bytes, secret).headers }))
  const paths = ['/webhooks/stripe', `/webhooks/stripe/${routeId}`]
  const routes = {
    'an unknown route': newId(),
    "another workspace's route": stranger.routeId,
    'a route id that is none': 'not-an-id',
    'a very long route id': 'x'.repeat(250),
  }
  // Without a route id it would be that workspace's own event.
  const strangers = {
    name: "another workspace's signature",
    wire: {
      method: 'POST',
      path: `/webhooks/stripe/${routeId}`,
      headers: signedEvent(body, stranger.stripeSecret).headers,
      body,
    },
    codes: REFUSED,
  }
  return [
    strangers,
    ...paths.flatMap((path) =>
      [...own, ...elsewhere].map(({ name, headers, body: bytes }) => ({
        name,
        wire: { method: 'POST', path, headers, body: bytes },
        codes: REFUSED,
      })),
    ),
    ...Object.entries(routes).map(([name, id]) => ({
      name,
      wire: { method: 'POST', path: `/webhooks/stripe/${id}`, headers: signature(good), body },
      codes: REFUSED,
    })),
  ]
}

/** Bodies that are no event, with good signatures. */
export function badEvents(world: World, limit: number): BadRequest[] {
  const MALFORMED = ['malformed_body']
  const good = stripe.body({ id: 'evt_bad' })
  const cut = good.subarray(0, -1)
  const broken = Buffer.from(good)
  broken.writeUInt8(0xff, good.indexOf('invoice'))
  const bodies: [name: string, body: Buffer, codes: readonly string[], at?: string][] = [
    ['nothing', Buffer.alloc(0), MALFORMED],
    ['no JSON', Buffer.from('id=evt_bad'), MALFORMED],
    ['cut JSON', cut, MALFORMED],
    ['broken UTF-8', broken, MALFORMED],
    ['UTF-16', Buffer.from(good.toString('utf8'), 'utf16le'), MALFORMED],
    ['1,000 levels', eventWith({ data: `${'['.repeat(1_000)}${']'.repeat(1_000)}` }), MALFORMED],
    ['__proto__', eventWith({ ['__proto__']: '{"livemode":true}' }), MALFORMED],
    ['constructor.prototype', eventWith({ constructor: '{"prototype":{}}' }), MALFORMED],
    ['gzip without saying so', gzipSync(good), MALFORMED],
    ['oversized', Buffer.concat([good, Buffer.alloc(limit, ' ')]), ['body_too_large']],
    ['a list', Buffer.from(`[${good}]`), ['validation_error'], '/body'],
    ['null', Buffer.from('null'), ['validation_error'], '/body'],
    ['a text', Buffer.from('"evt_bad"'), ['validation_error'], '/body'],
    ['an empty object', Buffer.from('{}'), ['validation_error'], '/body/object'],
  ]
  const fields: Readonly<Record<string, readonly (string | undefined)[]>> = {
    object: [undefined, '1', 'null', '"invoice"'],
    id: [
      undefined,
      '1',
      'null',
      '{}',
      '""',
      '"a b"',
      '"evt\\u0000"',
      '"\\ud800"',
      JSON.stringify('x'.repeat(300)),
    ],
    type: [
      undefined,
      '1',
      'null',
      '[]',
      '""',
      '"a b"',
      '"a\\u0000"',
      '"\\ud800"',
      JSON.stringify('x'.repeat(300)),
    ],
    account: ['1', 'true', '{}', '[]', '""', '"a b"', '"acct\\u0000"', JSON.stringify('x'.repeat(300))],
    livemode: [undefined, '1', '"false"', 'null'],
    created: [undefined, '"yesterday"', 'null', '-1', '1e400', '9007199254740993', '{}', '99999999999'],
  }
  for (const [name, values] of Object.entries(fields))
    for (const text of values)
      bodies.push([
        `${name} ${(text ?? 'missing').slice(0, 20)}`,
        eventWith({ [name]: text }),
        ['validation_error'],
        `/body/${name}`,
      ])
  const plain = bodies.map(([name, body, codes, at]) => ({
    name,
    codes,
    ...(at !== undefined && { at }),
    wire: {
      method: 'POST',
      path: '/webhooks/stripe',
      headers: signedEvent(body, world.stripeSecret).headers,
      body,
    },
  }))
  const headers = { ...signedEvent(good, world.stripeSecret).headers, 'content-encoding': 'gzip' }
  const encoded = {
    name: 'content-encoding gzip',
    codes: ['unsupported_media_type'],
    wire: { method: 'POST', path: '/webhooks/stripe', headers, body: gzipSync(good) },
  }
  const nowhere = ['acme', 'Stripe', 'constructor', '__proto__', 'stripe%20', '..', 'x'.repeat(200)].map(
    (provider) => ({
      name: `provider ${provider.slice(0, 20)}`,
      codes: ['route_not_found'],
      wire: {
        method: 'POST',
        path: `/webhooks/${provider}`,
        headers: signedEvent(good, world.stripeSecret).headers,
        body: good,
      },
    }),
  )
  return [...plain, encoded, ...nowhere]
}
