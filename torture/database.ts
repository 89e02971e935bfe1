import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client, type QueryResultRow } from 'pg'
import { startOwn } from './own-process.ts'

/** The Postgres of a run. */
export interface Database {
  readonly port: number
  /** Of its owner, not a superuser, through another port: that of a link. */
  urlAt(port: number): string
  /** Runs a statement past all links, and again when the server is just away. `admin` = as superuser. */
  query<Row extends QueryResultRow>(sql: string, values?: readonly unknown[], admin?: boolean): Promise<Row[]>
  /** SIGKILL to the postmaster; its host brings it back. Resolves when it answers again. */
  kill(): Promise<void>
  /** SIGKILL to the server process of one connection: all others are ended by Postgres as well. */
  killBackend(): Promise<void>
  stop(): Promise<void>
}

const PATIENCE_MS = 60_000
const PAUSE_MS = 100
/** What says that the server is away, starting or just left, not that the statement is wrong. */
const AWAY = /^(08...|57P0[1-5]|53300|ECONNREFUSED|ECONNRESET|EPIPE)$|terminated|connection error/

export async function startDatabase(home: string): Promise<Database> {
  const host = startOwn({ args: [join(import.meta.dirname, 'database-host.ts'), home], watchParent: false })
  const said = await host.nextLine<{ url: string; adminUrl: string; failure?: string }>()
  if (said.failure !== undefined) throw new Error(`the database does not start: ${said.failure}`)
  const { url, adminUrl } = said

  const once = async <Row extends QueryResultRow>(
    sql: string,
    values: readonly unknown[],
    admin: boolean,
  ) => {
    const target = new URL(adminUrl)
    target.pathname = new URL(url).pathname
    const client = new Client({ connectionString: admin ? target.href : url, connectionTimeoutMillis: 5_000 })
    client.on('error', () => undefined)
    await client.connect()
    try {
      return (await client.query<Row>(sql, [...values])).rows
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  const query: Database['query'] = async (sql, values = [], admin = false) => {
    const until = Date.now() + PATIENCE_MS
    for (;;)
      try {
        return await once(sql, values, admin)
      } catch (error) {
        const { code, message } = error as Error & { code?: string }
        if (!AWAY.test(code ?? message) || Date.now() > until) throw error
        await delay(PAUSE_MS)
      }
  }

  return {
    port: Number(new URL(url).port),
    urlAt: (port) => {
      const through = new URL(url)
      through.port = String(port)
      return through.href
    },
    query,
    kill: async () => {
      // Line 1 of the pid file of the server in our own folder: no other Postgres can be meant.
      const text = await readFile(join(home, 'postgres/data/postmaster.pid'), 'utf8')
      process.kill(Number(text.split('\n')[0]), 'SIGKILL')
      await query('select 1')
    },
    killBackend: async () => {
      const [victim] = await query<{ pid: number }>(
        `select pid from pg_stat_activity
         where application_name like 'orchestrator%' and pid <> pg_backend_pid() order by random() limit 1`,
        [],
        true,
      )
      if (!victim) return
      process.kill(victim.pid, 'SIGKILL')
      await query('select 1')
    },
    stop: () => host.close(),
  }
}
