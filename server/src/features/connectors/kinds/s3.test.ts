import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type CalledConnector, calledConnector } from '../../../../testing/called-connector.ts'
import {
  HAS_S3,
  S3_KEYS,
  S3_REGION,
  S3_STRANGER,
  type S3Server,
  startS3,
} from '../../../../testing/s3-server.ts'
import { type Answer, startUpstream, type Upstream } from '../../../../testing/upstream.ts'
import { checkConnector } from '../connectors.ts'

const opened: CalledConnector[] = []
afterEach(async () => {
  for (const connector of opened.splice(0)) await connector.close()
})

function connectorTo(
  endpoint: string,
  settings: Record<string, unknown> = {},
  secrets: Record<string, string> = S3_KEYS,
  now = Date.now(),
): CalledConnector {
  const connector = calledConnector({
    kind: 's3',
    settings: { bucket: 'orchestrator', region: S3_REGION, endpoint, path_style: true, ...settings },
    secrets,
    now,
  })
  opened.push(connector)
  return connector
}

describe.runIf(HAS_S3)('on a real server', () => {
  let server: S3Server
  beforeAll(async () => {
    server = await startS3()
    const admin = new S3Client({
      endpoint: server.endpoint,
      region: S3_REGION,
      forcePathStyle: true,
      credentials: { accessKeyId: S3_KEYS.access_key_id, secretAccessKey: S3_KEYS.secret_access_key },
    })
    await admin.send(new CreateBucketCommand({ Bucket: 'orchestrator' }))
    admin.destroy()
  })
  afterAll(() => server?.stop())

  test.each(['plain.txt', "folder/ü ☕ +&=?#%2e(1)!*'~.bin", 'a//b', '%2e%2e/x', '...'])(
    'the key %s: stored, read, looked at, listed, deleted',
    async (key) => {
      const { call } = connectorTo(server.endpoint)
      const content = 'Grüße ☕\u0000\n'
      const stored = await call('put', { key, content_text: content, metadata: { order: '42 a', empty: '' } })
      expect(stored).toEqual({
        output: { key, bytes: Buffer.byteLength(content), etag: expect.stringMatching(/^"[0-9a-f]{32}"$/) },
        httpStatus: 200,
      })
      const facts = {
        key,
        bytes: Buffer.byteLength(content),
        content_type: 'text/plain; charset=utf-8',
        etag: (stored.output as { etag: string }).etag,
        last_modified: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
        metadata: expect.objectContaining({ order: '42 a' }),
      }
      expect((await call('get', { key })).output).toEqual({ ...facts, content_text: content })
      expect((await call('get', { key, as: 'base64' })).output).toMatchObject({
        content_base64: Buffer.from(content).toString('base64'),
      })
      expect((await call('head', { key })).output).toEqual(facts)
      expect((await call('list', { prefix: key })).output).toMatchObject({
        objects: [{ key }],
        next_cursor: null,
      })
      for (let time = 0; time < 2; time += 1) expect((await call('delete', { key })).output).toEqual({ key })
      expect((await call('list', {})).output).toEqual({ objects: [], prefixes: [], next_cursor: null })
    },
  )

  test('bytes and nothing at all', async () => {
    const { call, failing } = connectorTo(server.endpoint)
    const content_base64 = Buffer.from([0xff, 0xfe, 0, 0x80]).toString('base64')
    await call('put', { key: 'bytes', content_base64, content_type: 'application/x-own' })
    expect((await call('get', { key: 'bytes', as: 'base64' })).output).toMatchObject({
      content_base64,
      content_type: 'application/x-own',
    })
    expect(await failing('get', { key: 'bytes' })).toMatchObject({ class: 'permanent', kind: 'not_text' })
    expect(
      (await call('get', { key: 'bytes', as: 'base64', range: { start: 1, end: 2 } })).output,
    ).toMatchObject({
      content_base64: Buffer.from([0xfe, 0]).toString('base64'),
      content_range: 'bytes 1-2/4',
      bytes: 2,
    })
    await call('put', { key: 'empty', content_text: '' })
    expect((await call('get', { key: 'empty' })).output).toMatchObject({ content_text: '', bytes: 0 })
    for (const key of ['bytes', 'empty']) await call('delete', { key })
  })

  test('lists page by page and by folders', async () => {
    const { call } = connectorTo(server.endpoint)
    const keys = ['a/1', 'a/2', 'b/1', 'c']
    for (const key of keys) await call('put', { key, content_text: key })
    const seen: string[] = []
    let cursor: string | null | undefined
    do {
      const page = (await call('list', { limit: 3, ...(cursor && { cursor }) })).output as {
        objects: { key: string }[]
        next_cursor: string | null
      }
      seen.push(...page.objects.map(({ key }) => key))
      cursor = page.next_cursor
    } while (cursor !== null)
    expect(seen).toEqual(keys)
    expect((await call('list', { delimiter: '/' })).output).toMatchObject({
      objects: [{ key: 'c', bytes: 1 }],
      prefixes: ['a/', 'b/'],
    })
    for (const key of keys) await call('delete', { key })
  })

  test('what the server cannot do is not repeated', async () => {
    const { failing } = connectorTo(server.endpoint)
    const input = { key: 'once', content_text: 'first', if_none_match: true }
    expect(await failing('put', input)).toMatchObject({
      class: 'permanent',
      kind: 'not_implemented',
      httpStatus: 501,
    })
  })

  test('an object larger than 1 MiB is refused as a whole and read in parts', async () => {
    const { call, failing } = connectorTo(server.endpoint)
    await call('put', { key: 'large', content_text: 'x'.repeat(1024 * 1024 + 1) })
    const failure = await failing('get', { key: 'large' })
    expect(failure).toMatchObject({ class: 'permanent', kind: 'response_too_large' })
    expect(failure.message).toMatch(/1048576 bytes/)
    expect((await call('get', { key: 'large', range: { start: 1024 * 1024 } })).output).toMatchObject({
      bytes: 1,
    })
    await call('delete', { key: 'large' })
  })

  test.each([
    ['a key that is not there', {}, S3_KEYS, 'get', 'no_such_key', 404],
    ['a look at a key that is not there', {}, S3_KEYS, 'head', 'not_found', 404],
    ['a bucket that is not there', { bucket: 'nowhere' }, S3_KEYS, 'get', 'no_such_bucket', 404],
    [
      'a wrong secret',
      {},
      { ...S3_KEYS, secret_access_key: 'wrong-canary-1234' },
      'get',
      'signature_does_not_match',
      403,
    ],
    ['an unknown user', {}, { ...S3_KEYS, access_key_id: 'no:body' }, 'get', 'signature_does_not_match', 403],
    ['a user without rights', {}, S3_STRANGER, 'get', 'access_denied', 403],
  ])('%s is final', async (_name, settings, secrets, operation, kind, httpStatus) => {
    const { failing } = connectorTo(server.endpoint, settings, secrets)
    const failure = await failing(operation, { key: 'not/there' })
    expect(failure).toMatchObject({ class: 'permanent', httpStatus, upstream: { http_status: httpStatus } })
    expect(failure.kind).toBe(kind)
    const shown = JSON.stringify([failure, failure.message])
    for (const value of Object.values(secrets)) expect(shown).not.toContain(value)
    expect(shown).not.toContain('StringToSign')
  })

  test('health asks for the bucket', async () => {
    expect(await connectorTo(server.endpoint).health()).toMatchObject({
      healthy: true,
      details: { http_status: 200 },
    })
    for (const [settings, secrets] of [
      [{ bucket: 'nowhere' }, S3_KEYS],
      [{}, S3_STRANGER],
      [{}, { ...S3_KEYS, secret_access_key: 'wrong-canary-1234' }],
    ] as const)
      expect(await connectorTo(server.endpoint, settings, secrets).health()).toMatchObject({ healthy: false })
  })

  test('a presigned URL stores and reads one object with one type, until it expires', async () => {
    const { call } = connectorTo(server.endpoint)
    const key = 'by url/ü'
    const store = (await call('presign', { key, method: 'put', content_type: 'text/csv' })).output as {
      url: string
      headers: Record<string, string>
    }
    expect(store).toMatchObject({ method: 'PUT', headers: { 'content-type': 'text/csv' } })
    const send = (url: string, headers: Record<string, string>) =>
      fetch(url, { method: 'PUT', body: 'a;b', headers })
    expect((await send(store.url, { 'content-type': 'text/html' })).status).toBe(403)
    expect((await send(store.url.replace('by%20url', 'elsewhere'), store.headers)).status).toBe(403)
    expect((await send(store.url, store.headers)).status).toBe(200)
    const read = (await call('presign', { key, method: 'get', expires_s: 60 })).output as { url: string }
    expect(await (await fetch(read.url)).text()).toBe('a;b')
    expect((await fetch(read.url, { method: 'DELETE' })).status).toBe(403)
    const anHourAgo = connectorTo(server.endpoint, {}, S3_KEYS, Date.now() - 3_700_000)
    const old = (await anHourAgo.call('presign', { key, method: 'get', expires_s: 3_600 })).output as {
      url: string
    }
    expect((await fetch(old.url)).status).toBe(403)
    expect((await call('get', { key })).output).toMatchObject({
      content_type: 'text/csv',
      content_text: 'a;b',
    })
    await call('delete', { key })
  })
})

describe('on a server that misbehaves', () => {
  let upstream: Upstream
  beforeAll(async () => {
    upstream = await startUpstream()
  })
  afterAll(() => upstream.close())
  const begin = (answer: Answer, settings: Record<string, unknown> = {}) => {
    upstream.reset(answer)
    return connectorTo(upstream.url, settings)
  }
  const xml =
    (status: number, code: string, headers: Record<string, string> = {}): Answer =>
    (response) =>
      void response
        .writeHead(status, { 'content-type': 'application/xml', ...headers })
        .end(
          `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Words.</Message><StringToSign>x</StringToSign></Error>`,
        )

  const INPUTS: Record<string, Record<string, unknown>> = {
    put: { key: 'k', content_text: 'x' },
    get: { key: 'k' },
    head: { key: 'k' },
    delete: { key: 'k' },
    list: {},
  }

  describe.each(Object.keys(INPUTS))('%s', (operation) => {
    test.each([
      [503, 'SlowDown', 'safe_to_repeat', 'http_5xx'],
      [500, 'InternalError', 'safe_to_repeat', 'http_5xx'],
      [429, 'TooManyRequests', 'safe_to_repeat', 'http_429'],
      [400, 'RequestTimeout', 'safe_to_repeat', operation === 'head' ? 'http_4xx' : 'request_timeout'],
      [409, 'OperationAborted', 'safe_to_repeat', operation === 'head' ? 'http_4xx' : 'operation_aborted'],
      [400, 'InvalidArgument', 'permanent', operation === 'head' ? 'http_4xx' : 'invalid_argument'],
      [301, 'PermanentRedirect', 'permanent', operation === 'head' ? 'http_3xx' : 'permanent_redirect'],
    ] as const)('%i %s: %s, once', async (status, code, failureClass, kind) => {
      const { failing } = begin(
        xml(status, code, { 'retry-after': '9', location: `${upstream.url}/elsewhere` }),
      )
      const failure = await failing(operation, INPUTS[operation])
      // Without a body there is no code that could ask for a repetition.
      const seen = operation === 'head' && status < 500 && status !== 429 ? 'permanent' : failureClass
      expect(failure).toMatchObject({ class: seen, kind, httpStatus: status, retryAfterMs: 9_000 })
      expect(failure.upstream?.body_excerpt).not.toContain('StringToSign')
      expect(upstream.requests).toHaveLength(1)
    })

    test('a connection that ends may be repeated, an aborted attempt is not sent', async () => {
      const { failing } = begin((response) => void response.socket?.destroy())
      expect(await failing(operation, INPUTS[operation])).toMatchObject({
        class: 'safe_to_repeat',
        kind: 'reset',
      })
      expect(upstream.requests).toHaveLength(1)
      const signal = AbortSignal.abort(new Error('stop'))
      expect(await failing(operation, INPUTS[operation], { signal })).toMatchObject({ class: 'never_sent' })
      expect(upstream.requests).toHaveLength(1)
    })
  })

  test('an object that is there already is not replaced where only a new one is wanted', async () => {
    const { call, failing } = begin(xml(412, 'PreconditionFailed'))
    const input = { key: 'k', content_text: 'x', if_none_match: true }
    expect(await failing('put', input)).toMatchObject({ class: 'permanent', kind: 'precondition_failed' })
    expect(upstream.requests[0]?.headers['if-none-match']).toBe('*')
    upstream.reset((response) => void response.end())
    await call('put', { ...input, if_none_match: false })
    expect(upstream.requests[0]?.headers['if-none-match']).toBeUndefined()
  })

  test('an answer that is no XML is final', async () => {
    for (const body of ['{"echo":1}', '<a', '<ListBucketResult><Contents>'])
      expect(await begin((response) => void response.end(body)).failing('list', {})).toMatchObject({
        class: 'permanent',
        kind: 'output_invalid',
      })
  })

  test('what is signed is what is sent: nothing of the SDK about this machine, attempt and trace beside it', async () => {
    const { call } = begin((response) => void response.setHeader('etag', '"x"').end())
    await call('put', { key: 'a b/ü', content_text: '' })
    const [request] = upstream.requests
    expect(request).toMatchObject({ method: 'PUT', url: '/orchestrator/a%20b/%C3%BC?x-id=PutObject' })
    expect(request?.headers).toMatchObject({
      'content-length': '0',
      'x-orchestrator-attempt': 'attempt-1',
      traceparent: '00-1-2-01',
      'user-agent': 'orchestrator',
      authorization: expect.stringMatching(/^AWS4-HMAC-SHA256 Credential=test:tester/),
    })
    expect(request?.headers['x-amz-trailer']).toBeUndefined()
  })

  test('the environment and the files of the machine change nothing', async () => {
    const misleading = {
      AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1',
      AWS_ACCESS_KEY_ID: 'AKIAENVIRONMENT',
      AWS_SECRET_ACCESS_KEY: 'environment',
      AWS_MAX_ATTEMPTS: '5',
      AWS_USE_FIPS_ENDPOINT: 'true',
      AWS_PROFILE: 'nobody',
    }
    for (const [name, value] of Object.entries(misleading)) vi.stubEnv(name, value)
    try {
      const { failing } = begin(xml(503, 'SlowDown'))
      expect(await failing('get', { key: 'k' })).toMatchObject({ httpStatus: 503 })
      expect(upstream.requests).toHaveLength(1)
      expect(upstream.requests[0]?.headers.authorization).toContain('Credential=test:tester/')
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('the time that is signed is the clock of the hub', async () => {
    upstream.reset((response) => void response.end())
    await connectorTo(upstream.url, {}, S3_KEYS, Date.UTC(2020, 5, 1)).call('delete', { key: 'k' })
    expect(upstream.requests[0]?.headers['x-amz-date']).toMatch(/^20200601T0000/)
  })

  test('a temporary key sends its token', async () => {
    upstream.reset((response) => void response.end())
    const secrets = { ...S3_KEYS, session_token: 'session-canary-1' }
    await connectorTo(upstream.url, {}, secrets).call('delete', { key: 'k' })
    expect(upstream.requests[0]?.headers['x-amz-security-token']).toBe('session-canary-1')
  })

  test.each(['', 'a\r\nb', 'schlüssel'])(
    'a secret that is no key (%#) is refused before anything is sent',
    async (value) => {
      upstream.reset((response) => void response.end())
      const connector = connectorTo(upstream.url, {}, { ...S3_KEYS, secret_access_key: value })
      for (const operation of ['delete', 'presign'])
        await expect(connector.call(operation, { key: 'k', method: 'get' })).rejects.toMatchObject({
          code: 'secret_unresolved',
        })
      await expect(connector.dryRun('delete', { key: 'k' })).rejects.toMatchObject({
        code: 'secret_unresolved',
      })
      expect(upstream.requests).toEqual([])
    },
  )

  test('a dry run says what would be done, and neither calls nor signs', async () => {
    const { dryRun } = begin((response) => void response.end())
    expect(await dryRun('put', { key: 'k', content_text: 'Grüße' })).toEqual({
      operation: 'put',
      endpoint: upstream.url,
      bucket: 'orchestrator',
      key: 'k',
      bytes: 7,
    })
    expect(JSON.stringify(await dryRun('presign', { key: 'k', method: 'get' }))).not.toMatch(
      /Signature|test:tester/,
    )
    expect(upstream.requests).toEqual([])
  })
})

test('without an endpoint a bucket is at Amazon, in its region', async () => {
  const { call } = connectorTo('', { endpoint: undefined, path_style: false, region: 'eu-central-1' })
  const { url } = (await call('presign', { key: 'k', method: 'get' })).output as { url: string }
  expect(new URL(url).host).toBe('orchestrator.s3.eu-central-1.amazonaws.com')
})

const put = (change: object) => ({ key: 'k', content_text: 'x', ...change })
test.each([
  ['put', put({ key: 'a/../b' }), '/key'],
  ['get', { key: '../other-bucket/x' }, '/key'],
  ['get', { key: '.' }, '/key'],
  ['get', { key: '' }, '/key'],
  ['get', { key: 'a\nb' }, '/key'],
  ['get', { key: 'ü'.repeat(600) }, '/key'],
  ['get', { key: 'a\ud800' }, '/key'],
  ['get', { key: 'k', range: { start: 5, end: 4 } }, '/range/end'],
  ['put', { key: 'k' }, ''],
  ['put', put({ content_base64: 'YQ==' }), ''],
  ['put', { key: 'k', content_base64: 'YQ' }, '/content_base64'],
  ['put', put({ content_type: 'a/b\r\nx: y' }), '/content_type'],
  ['put', put({ metadata: { A: 'x' } }), '/metadata'],
  ['put', put({ metadata: { a: 'ü' } }), '/metadata/a'],
  ['put', put({ content_text: 'x'.repeat(5 * 1024 * 1024 + 1) }), '/content_text'],
  ['list', { limit: 1_001 }, '/limit'],
  ['list', { prefix: 'a\u0000' }, '/prefix'],
  ['presign', { key: 'k', method: 'get', expires_s: 3_601 }, '/expires_s'],
  ['presign', { key: 'k', method: 'delete' }, '/method'],
  ['presign', { key: 'k', method: 'get', content_type: 'a/b' }, '/content_type'],
] as [string, object, string][])('%s %#: a fault at %s', (name, input, path) => {
  const operation = connectorTo('http://127.0.0.1:1').connector.operations.get(name)
  const faults: string[] = []
  try {
    operation?.validateInput(input, '')
  } catch (error) {
    faults.push(
      ...(error as { extra: { details: { path: string }[] } }).extra.details.map((detail) => detail.path),
    )
  }
  expect(faults).toContain(path)
})

test('an unchecked key is checked again where it is sent', async () => {
  await expect(connectorTo('http://127.0.0.1:1').call('get', { key: '../x' })).rejects.toMatchObject({
    code: 'input_invalid',
  })
})

test.each([
  [{ bucket: 'Upper' }, '/settings/bucket'],
  [{ bucket: 'a..b' }, '/settings/bucket'],
  [{ bucket: 'arn:aws:s3:::x' }, '/settings/bucket'],
  [{ region: 'eu.evil.example#' }, '/settings/region'],
  [{ endpoint: 'https://s3.example/path' }, '/settings/endpoint'],
  [{ endpoint: 'https://u:p@s3.example' }, '/settings/endpoint'],
  [{ endpoint: 'http://10.0.0.1:9000', path_style: false }, '/settings/path_style'],
])('settings %j have a fault at %s', (change, path) => {
  const settings = { bucket: 'orchestrator', region: S3_REGION, ...change }
  const secrets = { access_key_id: 'a', secret_access_key: 'b' }
  expect(checkConnector('sample', { kind: 's3', settings, secrets }).map((fault) => fault.path)).toContain(
    path,
  )
})
