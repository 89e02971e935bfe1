import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub, KEY } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { connectorsControl } from './connectors.control.ts'

let hub: CallingHub
let call: CallServer
let token: string
let deliveries: { connector: string; by: string }[] = []

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const deps = { ...hub.configDeps, deliveries: async () => deliveries }
  call = await hub.serve((app) => connectorsControl(app, deps))
})
afterAll(() => hub.close())
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
  deliveries = []
  await hub.configure({ policies: {}, connectors: {} })
})

const api = (operation: object = {}, more: object = {}) => ({
  kind: 'http',
  title: 'An API',
  settings: {
    base_url: 'https://api.example.com/v1',
    auth: { type: 'bearer' },
    headers: { 'x-version': '3' },
    operations: {
      'charge.create': {
        method: 'POST',
        path: '/charges/{id}',
        body: { amount: '{{input.amount}}', nested: [{ b: 1, a: null }] },
        input: {
          type: 'object',
          properties: { id: { type: 'string' }, amount: { type: 'integer' } },
          required: ['id', 'amount'],
        },
        output: { type: 'object', properties: { ok: { const: true } } },
        idempotency_key_header: 'Idempotency-Key',
        ...operation,
      },
    },
  },
  secrets: { token: 'key' },
  ...more,
})
const product = {
  kind: 'callback',
  settings: { url: 'https://shop.example.com/hooks' },
  secrets: { signing_secret: 'signing' },
}

const put = (name: string, connector: unknown, headers: Record<string, string> = { 'if-match': '*' }) =>
  call<{ config_version: number }>('PUT', `/connectors/${name}`, token, {
    body: { connector, reason: 'for the test' },
    headers,
  })
const remove = (name: string) => call('DELETE', `/connectors/${name}?reason=for%20the%20test`, token)

describe('a connector', () => {
  test('comes back as it was put, with its operations and without a secret', async () => {
    const created = await put('stripe', api())
    const version = created.body.config_version
    expect(created).toMatchObject({
      status: 200,
      headers: { etag: `"${version}"` },
      body: { name: 'stripe', connector: api(), config_version: version },
    })
    const read = await call('GET', '/connectors/stripe', token)
    expect(read).toMatchObject({ status: 200, headers: { etag: `"${version}"` } })
    expect(read.body).toEqual({
      name: 'stripe',
      connector: api(),
      operations: [
        {
          name: 'charge.create',
          title: 'charge.create',
          description: '',
          input: api().settings.operations['charge.create'].input,
          output: api().settings.operations['charge.create'].output,
          safe: false,
          idempotent: false,
          takes_idempotency_key: true,
        },
      ],
    })
    expect(created.text + read.text).not.toContain(KEY)
  })

  test('shows the operations of its last change at once', async () => {
    for (const title of ['One', 'Two', 'Three']) {
      await put('stripe', api({ title }))
      expect((await call('GET', '/connectors/stripe', token)).body).toMatchObject({ operations: [{ title }] })
    }
  })

  test('is removed; one of a name that every JavaScript object has was never there', async () => {
    await put('stripe', api())
    expect(await remove('stripe')).toMatchObject({ status: 204, text: '' })
    for (const name of ['stripe', 'constructor']) {
      expect(await call('GET', `/connectors/${name}`, token)).toMatchObject({ status: 404 })
      expect(await remove(name)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    }
  })

  test('that webhooks are delivered to stays, and stays a callback', async () => {
    await put('product', product)
    deliveries = [{ connector: 'product', by: 'webhook_route:1' }]
    const refused = [
      [await remove('product'), '/document/connectors/product'],
      [await put('product', api()), '/body/connector'],
    ] as const
    for (const [answer, path] of refused)
      expect(answer).toMatchObject({ status: 422, body: { code: 'config_invalid', details: [{ path }] } })
    expect((await put('product', { ...product, title: 'Shop' })).status).toBe(200)
  })

  test('changed from an old version is not stored', async () => {
    const { body } = await put('stripe', api())
    const stale = await put('stripe', api({ title: 'New' }), { 'if-match': `"${body.config_version - 1}"` })
    expect(stale).toMatchObject({ status: 412, body: { active_version: body.config_version } })
    expect((await call('GET', '/connectors/stripe', token)).body).toMatchObject({ connector: api() })
  })

  test('is not seen by another workspace', async () => {
    await put('stripe', api())
    const others = await hub.access.bearer(hub.otherId)
    expect((await call('GET', '/connectors', others)).body).toEqual({ data: [], next_cursor: null })
    const same = { headers: { 'x-request-id': 'same' } }
    const foreign = await call('GET', '/connectors/stripe', others, same)
    const missing = await call('GET', '/connectors/nothing', token, same)
    expect([foreign.status, foreign.text]).toEqual([404, missing.text])
  })
})

describe('lists', () => {
  test('connectors by name, page by page', async () => {
    await hub.configure({ policies: {}, connectors: { c: api(), a: api(), b: product } })
    const first = await call<{ next_cursor: string }>('GET', '/connectors?limit=2', token)
    expect(first.body).toMatchObject({
      data: [
        { name: 'a', connector: api() },
        { name: 'b', connector: product },
      ],
    })
    expect(
      (await call('GET', `/connectors?limit=2&cursor=${first.body.next_cursor}`, token)).body,
    ).toMatchObject({
      data: [{ name: 'c' }],
      next_cursor: null,
    })
    expect((await call('GET', '/connectors?cursor=abc', token)).status).toBe(400)
  })

  test('the kinds, with all that their forms need', async () => {
    const { body } = await call<{ data: { kind: string; settings_schema: object; secrets: object[] }[] }>(
      'GET',
      '/connectors/kinds',
      token,
    )
    expect(body.data.map(({ kind }) => kind)).toEqual(['callback', 'http', 's3', 'smtp', 'stripe'])
    for (const { settings_schema } of body.data) expect(settings_schema).toHaveProperty('properties')
    expect(body.data[0]?.secrets).toContainEqual(
      expect.objectContaining({ name: 'signing_secret', required: true }),
    )
  })
})

describe('bad requests', () => {
  test.each([
    ['a bad name', 'No_Good', api(), 400, '/path/name'],
    ['a name that is a path of the API', 'kinds', api(), 422, '/body/connector'],
    ['an unknown field', 'api', api({}, { retries: 1 }), 400, '/body/connector/retries'],
    ['settings that are a list', 'api', api({}, { settings: [] }), 400, '/body/connector/settings'],
    [
      'a secret value in the place of its name',
      'api',
      api({}, { secrets: { token: KEY } }),
      400,
      '/body/connector/secrets/token',
    ],
    ['an unknown kind', 'api', api({}, { kind: 'ftp' }), 422, '/body/connector/kind'],
    [
      'a base URL that can never be dialled',
      'api',
      { ...api(), settings: { ...api().settings, base_url: 'http://169.254.169.254/' } },
      422,
      '/body/connector/settings/base_url',
    ],
    [
      'a broken operation',
      'api',
      api({ method: 'GET' }),
      422,
      '/body/connector/settings/operations/charge.create/body',
    ],
    [
      'a secret ref that does not exist',
      'api',
      api({}, { secrets: { token: 'none' } }),
      422,
      '/body/connector/secrets/token',
    ],
    ['a policy that does not exist', 'api', api({}, { policy: 'none' }), 422, '/body/connector/policy'],
  ])('%s', async (_what, name, connector, status, path) => {
    const [before] = await hub.query('select count(*) from config_version')
    const answer = await call<{ details: { path: string }[] }>('PUT', `/connectors/${name}`, token, {
      body: { connector, reason: 'for the test' },
    })
    expect(answer.status).toBe(status)
    expect(answer.body.details.map((detail) => detail.path)).toContain(path)
    expect(answer.text).not.toContain(KEY)
    expect(await hub.query('select count(*) from config_version')).toEqual([before])
  })
})
