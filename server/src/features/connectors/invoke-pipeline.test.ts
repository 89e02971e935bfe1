import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../platform/clock.ts'
import { createDial } from '../../platform/dial/dial.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { attemptTimeout, totalDeadline } from '../../resilience/deadline.ts'
import { outermost, runPipeline } from '../../resilience/pipeline.ts'
import { type FailedAttempt, retry } from '../../resilience/retry.ts'
import { compileConnector, invokeOperation } from './connectors.ts'

const cleanUps: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

/** A connector of kind `http` with a keyed and an unsafe operation, called through the stages of /execute over real sockets. */
async function setUp(listener: RequestListener) {
  const keys: unknown[] = []
  const server = createServer((request, response) => {
    keys.push(request.headers['idempotency-key'])
    listener(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const stop = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  const log = pino({ level: 'silent' })
  const dial = createDial({ allowCidrs: ['127.0.0.1/32'], metrics: createMetrics('test', false), log })
  cleanUps.push(stop, () => dial.close())
  const operations = {
    keyed: { method: 'POST', path: '/', idempotency_key_header: 'Idempotency-Key' },
    unsafe: { method: 'POST', path: '/' },
  }
  const connector = compileConnector({
    name: 'real',
    lane: 1,
    config: { kind: 'http', settings: { base_url: `http://127.0.0.1:${port}`, operations } },
  })
  const failed: FailedAttempt[] = []
  const call = (operation: keyof typeof operations, attemptMs = 5_000) => {
    const schedule = { kind: 'exponential', maxAttempts: 4, baseMs: 10, factor: 1, capMs: 10 } as const
    const stages = [
      totalDeadline({ totalMs: 20_000, clock: systemClock }),
      retry({
        schedule,
        clock: systemClock,
        random: () => 0.5,
        onFailure: (attempt) => failed.push(attempt),
      }),
      attemptTimeout({ attemptMs, clock: systemClock }),
    ]
    return runPipeline(stages, outermost(new AbortController().signal), ({ signal, attempt }) =>
      invokeOperation(
        { dial, clock: systemClock, resolveSecret: () => expect.unreachable() },
        connector,
        operation,
        {},
        {
          signal,
          connectTimeoutMs: 5_000,
          remainingMs: 5_000,
          idempotencyKey: 'stable',
          attemptToken: `attempt-${attempt}`,
          traceparent: '',
        },
      ),
    ).catch((error: unknown) => error)
  }
  return { call, failed, keys, stop }
}

test('503 twice, then success: three requests with one key', async () => {
  let requests = 0
  const { call, keys, failed } = await setUp((_request, response) => {
    requests += 1
    response.writeHead(requests < 3 ? 503 : 201).end('done')
  })
  expect(await call('keyed')).toEqual({ output: 'done', httpStatus: 201 })
  expect(keys).toEqual(['stable', 'stable', 'stable'])
  expect(failed.map(({ failure }) => failure.httpStatus)).toEqual([503, 503])
})

test('an upstream that hangs: a keyed call is repeated and ends as a timeout, an unsafe one is sent once', async () => {
  const { call, keys } = await setUp(() => undefined)
  expect(await call('keyed', 500)).toMatchObject({ kind: 'timeout', class: 'safe_to_repeat' })
  expect(keys).toHaveLength(4)
  expect(await call('unsafe', 500)).toMatchObject({ kind: 'timeout', class: 'outcome_unknown' })
  expect(keys).toHaveLength(5)
})

test('an upstream that cuts the connection: the same rule', async () => {
  const { call, keys } = await setUp((request) => request.socket.destroy())
  expect(await call('unsafe')).toMatchObject({ kind: 'reset', class: 'outcome_unknown' })
  expect(await call('keyed')).toMatchObject({ kind: 'reset', class: 'safe_to_repeat' })
  expect(keys).toHaveLength(5)
})

test('an upstream that is down: also an unsafe call is repeated, because nothing was sent', async () => {
  const { call, failed, keys, stop } = await setUp(() => undefined)
  await stop()
  expect(await call('unsafe')).toMatchObject({ kind: 'refused', class: 'never_sent' })
  expect(failed).toHaveLength(4)
  expect(keys).toEqual([])
})
