import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase, testPlatform } from '../../../testing/database.ts'
import { type ManualClock, manualClock } from '../../../testing/manual-clock.ts'
import { type TcpRelay, tcpRelay } from '../../../testing/tcp-relay.ts'
import { firstIdAt, newId } from '../../platform/ids.ts'
import { createMetrics, type Metrics } from '../../platform/metrics.ts'
import type { Platform } from '../../platform/platform.ts'
import { insertRequestLog } from './request-log.sql.ts'
import { createRequestLog, type Entry, type RequestLog } from './request-log.ts'

let database: TestDatabase
let wire: TcpRelay
/** Reaches the database over the wire. */
let platform: Platform
let clock: ManualClock
let tenantId: string
let requestLog: RequestLog
let metrics: Metrics
let written: number
const captured = capturedLog()

beforeAll(async () => {
  database = await testDatabase()
  wire = await tcpRelay(database.url)
})
beforeEach(() => {
  tenantId = newId()
  clock = manualClock()
  platform = testPlatform(wire.url, { log: captured.log })
  requestLog = open()
})
afterEach(async () => {
  await platform.notifications.close()
  await platform.db.close()
})
afterAll(async () => {
  await wire.close()
  await database.drop()
})

function open(maxWaiting?: number): RequestLog {
  written = 0
  metrics = createMetrics('test', false)
  return createRequestLog({
    db: platform.db,
    log: platform.log,
    metrics,
    clock,
    onWritten: () => {
      written += 1
    },
    ...(maxWaiting !== undefined && { maxWaiting }),
  })
}

function entry(change: { row?: Partial<Entry['row']>; event?: Partial<Entry['event']> } = {}): Entry {
  const id = change.row?.id ?? newId()
  const names = {
    tenant_id: tenantId,
    connector: 'api',
    request_id: 'request-1',
    correlation_id: 'correlation-1',
    trace_id: 'b'.repeat(32),
  }
  return {
    row: {
      ...names,
      id,
      at: new Date(clock.now()).toISOString(),
      operation: 'call',
      subject: 'svc:test',
      outcome: 'ok',
      http_status: 200,
      attempts: 1,
      latency_ms: 12,
      dry_run: false,
      config_version: 3,
      idempotency_key: `orch-${id}`,
      metadata: { 'order.id': '17 €' },
      ...change.row,
    },
    event: {
      ...names,
      type: 'execution.succeeded',
      message: 'Done.',
      data: { execution_id: id },
      ...change.event,
    },
  }
}

const stored = async () => {
  const { rows } = await database.db.execute<{ id: string; told: string | null }>(
    {
      name: '',
      text: `select r.id, e.data ->> 'execution_id' as told
             from request_log r full join event e on e.tenant_id = r.tenant_id and e.data ->> 'execution_id' = r.id::text
             where coalesce(r.tenant_id, e.tenant_id) = $1 order by r.id`,
    },
    [tenantId],
  )
  return rows.map(({ id, told }) => (id === told ? id : `${id} without ${told}`))
}

const dropped = async () => {
  const metric = metrics.registry.getSingleMetric('orchestrator_request_log_dropped_total')
  return (await metric?.get())?.values[0]?.value
}

const record = (...entries: Entry[]): string[] => {
  for (const each of entries) requestLog.record(each)
  return entries.map(({ row }) => row.id)
}
const several = (count: number) => Array.from({ length: count }, () => entry())

describe('a recorded execution', () => {
  test('is a row and an event, with everything that was said of it', async () => {
    const one = entry()
    record(one)
    await requestLog.close()
    const select = (text: string) => database.db.execute({ name: '', text }, [tenantId])
    const { at, ...row } = (await select('select * from request_log where tenant_id = $1')).rows[0] ?? {}
    expect({ ...row, at: (at as Date).toISOString() }).toEqual(one.row)
    const event = await select(
      'select type, severity, message, connector, request_id, correlation_id, trace_id, data from event where tenant_id = $1',
    )
    const { tenant_id: _tenant, ...told } = one.event
    expect(event.rows).toEqual([{ ...told, severity: 'info' }])
    expect(written).toBe(1)
  })

  test('waits for the others that come meanwhile: few statements, in batches', async () => {
    const ids = record(...several(450))
    await requestLog.close()
    expect(await stored()).toEqual(ids)
    const { values } = await platform.metrics.dbStatement.get()
    const statements = values.find(
      ({ metricName, labels }) =>
        metricName?.endsWith('_count') && labels.statement === 'execute.insert_request_log',
    )
    expect(statements?.value).toBeLessThanOrEqual(4)
  })

  test('after a pause is written, too', async () => {
    const first = record(entry())
    await vi.waitFor(async () => expect(await stored()).toEqual(first), 20_000)
    await clock.whenSleeping()
    const second = record(entry())
    // What comes right after a batch waits for company.
    await clock.advance(10)
    await vi.waitFor(async () => expect(await stored()).toEqual([...first, ...second]), 20_000)
  })

  test('that is written again because the answer to its commit was lost is there once', async () => {
    const [first, second] = [entry(), entry()]
    const flat = ({ row, event }: Entry) => ({ ...row, event })
    await insertRequestLog(database.db, { entries: [flat(first)] })
    await insertRequestLog(database.db, { entries: [flat(first), flat(second)] })
    await insertRequestLog(database.db, { entries: [flat(first), flat(second)] })
    expect(await stored()).toEqual([first.row.id, second.row.id])
  })
})

describe('a row that the database refuses', () => {
  test.each([
    ['a character that no text may have', { row: { subject: 'a\u0000b' } }],
    ['a number that breaks a rule of the table', { row: { attempts: -1 } }],
    ['an id of a day without a partition', { row: { id: firstIdAt(Date.UTC(2020, 0, 1)) } }],
    ['an event without its type', { event: { type: null as unknown as string } }],
  ])('because of %s takes no other with it, and is counted', async (_what, change) => {
    const [before, after] = [several(4), several(5)]
    const good = record(...before)
    record(entry(change))
    good.push(...record(...after))
    await requestLog.close()
    expect(await stored()).toEqual(good)
    expect(await dropped()).toBe(1)
    expect(captured.text()).toContain('request log rows are lost')
  })
})

describe('with the database away', () => {
  test('rows wait, and are written when it is back', async () => {
    await wire.cut()
    const ids = record(...several(3))
    await clock.whenSleeping()
    ids.push(...record(...several(2)))
    await clock.advance(1_000)
    await clock.whenSleeping()
    expect(await stored()).toEqual([])
    await wire.mend()
    await clock.advance(1_000)
    await vi.waitFor(async () => expect(await stored()).toEqual(ids), 20_000)
    expect(await dropped()).toBe(0)
  })

  test('no more than a limit wait: the oldest go, and are counted', async () => {
    requestLog = open(5)
    await wire.cut()
    // One is on its way while the others come; it is the oldest when it comes back.
    const ids = record(...several(12))
    await clock.whenSleeping()
    await wire.mend()
    await clock.advance(1_000)
    await requestLog.close()
    expect(await stored()).toEqual(ids.slice(-5))
    expect(await dropped()).toBe(7)
  })

  test('a stop gives up after some attempts, and says what is lost', async () => {
    await wire.cut()
    record(...several(3))
    await clock.whenSleeping()
    await requestLog.close()
    expect(await dropped()).toBe(3)
    expect(captured.lines().at(-1)).toMatchObject({ level: 'error', count: 3 })
    await wire.mend()
    expect(await stored()).toEqual([])
  })

  test('a stop does not wait for the pause when the database is back', async () => {
    await wire.cut()
    const ids = record(...several(3))
    await clock.whenSleeping()
    await wire.mend()
    await requestLog.close()
    expect(await stored()).toEqual(ids)
  })
})
