import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningHub, startHub, untilItSays } from './hub-process.ts'
import { processesOf } from './process-scan.ts'
import { type Sink, sinkConnector, startSink, taking } from './sink.ts'

const WITHIN = { timeout: 20_000, interval: 50 }

let home: HubHome
let sink: Sink
let hub: RunningHub

beforeAll(async () => {
  home = await hubHome()
  sink = await startSink()
})
afterAll(async () => {
  await sink.stop()
  await home.remove()
})
// As the README says: npm passes signals on, also those that the terminal has sent to everybody.
beforeEach(async () => {
  hub = await startHub(home, ['npm', 'start'])
  const body = { connector: sinkConnector(sink.url), reason: 'a place to see what arrives' }
  const put = { method: 'PUT', token: hub.tokens.control, body }
  expect((await call(`${hub.urls.control}/connectors/sink`, put)).status).toBe(200)
})

const submit = async (marker: string): Promise<string> => {
  const answer = await call(`${hub.urls.exec}/jobs`, { token: hub.tokens.exec, body: taking(marker) })
  expect(answer.status).toBe(202)
  return String(answer.body.job_id)
}
const arrivals = (marker: string) => sink.effects.filter((effect) => effect.marker === marker).length
const arrived = (marker: string) => vi.waitFor(() => expect(arrivals(marker)).toBe(1), WITHIN)

/** Lines in which a part of the hub says that it did not stop in time. */
async function latecomers(): Promise<string[]> {
  const log = await readFile(join(home.dataDir, 'logs/orchestrator.log'), 'utf8')
  return log.split('\n').filter((line) => line.includes('"stopping: '))
}

test('Ctrl-C lets a running job and a running execution end, stores and answers them, and takes no more', async () => {
  for (const marker of ['job', 'execution']) sink.hold(marker)
  const jobId = await submit('job')
  const execution = call(`${hub.urls.exec}/execute`, {
    token: hub.tokens.exec,
    headers: { 'idempotency-key': 'execution' },
    body: taking('execution'),
  })
  for (const marker of ['job', 'execution']) await arrived(marker)

  hub.signal('SIGINT')
  await untilItSays(hub, /Stopping …/)
  await vi.waitFor(async () => {
    const refused = await call(`${hub.urls.exec}/jobs`, {
      token: hub.tokens.exec,
      body: taking('late'),
    }).then(
      ({ status }) => status,
      () => 'no answer',
    )
    expect([503, 'no answer']).toContain(refused)
  }, WITHIN)
  sink.release()

  expect(await execution).toMatchObject({ status: 200, body: { status: 'ok', attempts: 1 } })
  // npm has its own way of saying that it was interrupted.
  expect([0, 130]).toContain((await hub.ended).code)
  expect(await processesOf(home.dataDir)).toEqual([])
  expect(await latecomers()).toEqual([])

  hub = await startHub(home)
  const stored = await call(`${hub.urls.exec}/jobs/${jobId}`, { token: hub.tokens.exec })
  expect(stored.body).toMatchObject({ job: { state: 'done', attempts: 1, result: { taken: 'job' } } })
  expect([arrivals('job'), arrivals('execution'), arrivals('late')]).toEqual([1, 1, 0])
  expect((await hub.stop()).code).toBe(0)
})

test('who presses Ctrl-C again does not wait for the job, and nothing is left running either', async () => {
  sink.hold('endless')
  await submit('endless')
  await arrived('endless')
  let ended = false
  hub.ended.finally(() => {
    ended = true
  })
  hub.signal('SIGINT')
  await untilItSays(hub, /Stopping …/)
  await vi.waitFor(() => {
    hub.signal('SIGINT')
    expect(ended).toBe(true)
  }, WITHIN)
  expect((await hub.ended).code).not.toBe(0)
  await vi.waitFor(async () => expect(await processesOf(home.dataDir)).toEqual([]), WITHIN)
  sink.release()
})
