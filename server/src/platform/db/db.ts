import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { Pool, type PoolClient, type QueryResult, type QueryResultRow, types } from 'pg'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { type DatabaseRole, roleSetting, startOptions } from './database-roles.ts'
import { isUnavailable, unavailable } from './failures.ts'
import type { NamedStatement, Queryable, Tx } from './statement.ts'

export interface Db extends Queryable {
  /** Runs `work` in one transaction (READ COMMITTED): commits when it resolves, rolls back when it rejects. */
  transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export interface DbOptions {
  readonly url: string
  readonly applicationName: string
  readonly poolSize: number
  readonly slowQueryMs: number
  readonly log: Log
  readonly metrics: Metrics
  /** Session settings of every connection of this pool, e.g. `{ enable_seqscan: 'off' }` for the claim pool. */
  readonly session?: Readonly<Record<string, string>>
  /** Whom its connections are; absent: the service role. */
  readonly role?: DatabaseRole
  /**
   * What begins every transaction instead of `begin`, one message with `begin` in it. With it every statement runs in a
   * transaction.
   */
  readonly opening?: () => string
}

const tracer = trace.getTracer('orchestrator.db')
const INT8_OID = 20

/** int8 as a number: our counters stay far below 2^53, and a value that does not must not be rounded in silence. */
function parseInt8(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new Error(`int8 out of the safe range: ${text}`)
  return value
}

const getTypeParser: typeof types.getTypeParser = ((oid: number, format: never) =>
  oid === INT8_OID ? parseInt8 : types.getTypeParser(oid, format)) as typeof types.getTypeParser

/**
 * A pool of connections whose every statement has a name. Time limits are set on the session, so that a
 * forgotten transaction can never pin the queue's dead rows for long (research: pitfall 1).
 */
export function createDb(options: DbOptions): Db {
  const session: Record<string, string> = {
    statement_timeout: '30000',
    // Between two statements lie milliseconds. A process that was frozen there holds its locks, so others could not
    // take over its work before this has passed.
    idle_in_transaction_session_timeout: '10000',
    timezone: 'UTC',
    // Our statements take milliseconds; compiling one with many partitions takes longer than running it.
    jit: 'off',
    ...options.session,
    ...roleSetting(options.role ?? 'service'),
  }
  const pool = new Pool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.poolSize,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 60_000,
    options: startOptions(session),
    types: { getTypeParser },
  })
  // Between the pool's hands and ours, a new connection has no listener for one turn of the microtasks, and its end
  // may come in the same packet as its beginning: unheard, that would end the process. The next statement tells.
  pool.on('connect', (client) => client.on('error', () => undefined))
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on('error', (error: Error & { code?: string }) => {
    // Our own server may stop before it has read that we are leaving.
    if (pool.ending) return
    // Not the error itself: the pool hangs the whole connection on it, with the key that cancels its queries.
    options.log.warn({ reason: error.message, code: error.code }, 'an idle database connection was lost')
  })

  const execute = <Row extends QueryResultRow>(
    on: Pool | PoolClient,
    statement: NamedStatement,
    values: readonly unknown[],
  ) => observed(options, statement.name, () => on.query<Row>({ ...statement, values: [...values] }))

  const { opening } = options
  const transaction: Db['transaction'] = async (work) =>
    inTransaction(pool, execute, work, opening?.() ?? 'begin')
  return {
    execute: (statement, values) =>
      opening ? transaction((tx) => tx.execute(statement, values)) : execute(pool, statement, values),
    transaction,
    close: () => pool.end(),
  }
}

type Execute = <Row extends QueryResultRow>(
  on: PoolClient,
  statement: NamedStatement,
  values: readonly unknown[],
) => Promise<QueryResult<Row>>

async function inTransaction<T>(
  pool: Pool,
  execute: Execute,
  work: (tx: Tx) => Promise<T>,
  opening: string,
): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw isUnavailable(error) ? unavailable(error) : error
  })
  let broken: Error | undefined
  // Between two statements nobody waits for this connection: unheard, its loss would end the process.
  const onLost = (error: Error): void => {
    broken = error
  }
  client.on('error', onLost)
  try {
    await client.query(opening)
    const result = await work({
      isTransaction: true,
      execute: (statement, values) => execute(client, statement, values),
    })
    await client.query('commit')
    return result
  } catch (error) {
    // A connection whose rollback fails is in an unknown state: it is closed instead of going back to the pool.
    await client.query('rollback').catch((failure: Error) => {
      broken = failure
    })
    throw isUnavailable(error) ? unavailable(error) : error
  } finally {
    client.off('error', onLost)
    client.release(broken)
  }
}

/** Span, metric and slow-query log of one statement; a lost database becomes the problem `database_unavailable`. */
async function observed<T>(options: DbOptions, name: string, work: () => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(`db ${name}`, { kind: SpanKind.CLIENT }, async (span) => {
    span.setAttributes({ 'db.system.name': 'postgresql', 'db.query.summary': name })
    const started = performance.now()
    let failed = false
    try {
      return await work()
    } catch (error) {
      failed = true
      span.setStatus({ code: SpanStatusCode.ERROR })
      throw isUnavailable(error) ? unavailable(error) : error
    } finally {
      const elapsedMs = performance.now() - started
      options.metrics.dbStatement.observe({ statement: name, ok: String(!failed) }, elapsedMs / 1000)
      if (elapsedMs >= options.slowQueryMs)
        options.log.warn({ statement: name, elapsed_ms: Math.round(elapsedMs) }, 'slow query')
      span.end()
    }
  })
}
