import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { context, trace } from '@opentelemetry/api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { emptyDatabase } from '../../../testing/database.ts'
import { contextFrom, traceIdOf, traceparentOf } from '../call-context.ts'
import { createDb } from '../db/db.ts'
import { run } from '../db/statement.ts'
import { createHttpServer } from '../http/server.ts'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { startTracing } from './tracing.ts'

interface OtlpSpan {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
}

const spans: OtlpSpan[] = []
const collector = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = JSON.parse(Buffer.concat(chunks).toString()) as {
    resourceSpans: { scopeSpans: { spans: OtlpSpan[] }[] }[]
  }
  for (const resource of body.resourceSpans)
    for (const scope of resource.scopeSpans) spans.push(...scope.spans)
  response.end('{}')
})

const ping = run<null>('tracing.ping', 'select 1', () => [])
let database: Awaited<ReturnType<typeof emptyDatabase>>

beforeAll(async () => {
  database = await emptyDatabase()
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
})

afterAll(async () => {
  collector.close()
  await database.drop()
})

test('a request and its named statement are spans of the caller’s trace, sent to the collector', async () => {
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
  const stop = startTracing({ serviceName: 'tracing test', endpoint })
  const options = { log: createLog('test', 'silent'), metrics: createMetrics('test', false) }
  const db = createDb({
    ...options,
    url: database.url,
    applicationName: 'tracing test',
    poolSize: 1,
    slowQueryMs: 9_999,
  })
  const app = await createHttpServer({
    ...options,
    trustedProxies: [],
    bodyLimitBytes: 1_000,
    handlerTimeoutMs: 5_000,
    checks: [],
  })
  app.get('/ping', { config: { access: 'public' } }, async () => ({ rows: await ping(db, null) }))
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  await app.inject({ url: '/ping', headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } })
  await app.close()
  await db.close()
  await stop()

  const request = spans.find(({ name }) => name === 'GET /ping')
  const statement = spans.find(({ name }) => name === 'db tracing.ping')
  expect(request).toMatchObject({ traceId, parentSpanId: 'b7ad6b7169203331' })
  expect(statement).toMatchObject({ traceId, parentSpanId: request?.spanId })
})

test('without a collector ids still work: a stored traceparent continues its trace', async () => {
  const stop = startTracing({ serviceName: 'tracing test' })
  const stored = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const continued = contextFrom(stored)
  expect(traceIdOf(continued)).toBe('0af7651916cd43dd8448eb211c80319c')
  trace.getTracer('t').startActiveSpan('inside', {}, continued, (span) => {
    expect(traceparentOf()).toMatch(
      /^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-0[01]$/,
    )
    span.end()
  })
  // A broken or missing one must not join all such work to one trace of zeros.
  context.with(contextFrom('nonsense'), () =>
    trace.getTracer('t').startActiveSpan('new', (span) => {
      expect(span.spanContext().traceId).not.toMatch(/^0+$/)
      span.end()
    }),
  )
  await stop()
})
