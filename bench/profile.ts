import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'

const FOLDER = join(import.meta.dirname, 'results/profiles')
const TOP = 15

/** Arguments for Node: a `.cpuprofile` that Chrome's developer tools open. */
export const cpuProfile = (name: string): string[] => [
  '--cpu-prof',
  '--cpu-prof-interval=500',
  `--cpu-prof-dir=${FOLDER}`,
  `--cpu-prof-name=${name}.cpuprofile`,
]

export async function resetStatementTimes(adminUrl: string): Promise<void> {
  await mkdir(FOLDER, { recursive: true })
  await asAdmin(adminUrl, async (client) => {
    await client.query('create extension if not exists pg_stat_statements')
    await client.query('select pg_stat_statements_reset()')
  })
}

/** The statements that took the server most time, those inside functions too. */
export async function writeStatementTimes(adminUrl: string, name: string): Promise<void> {
  const rows = await asAdmin(adminUrl, async (client) => {
    const { rows } = await client.query(
      `select toplevel, calls, round(total_exec_time) as total_ms, round(mean_exec_time::numeric, 3) as mean_ms,
              round(stddev_exec_time::numeric, 3) as stddev_ms, rows,
              (shared_blks_hit + shared_blks_read) / calls as pages, wal_bytes, query
       from pg_stat_statements s join pg_database d on d.oid = s.dbid
       where d.datname = current_database() order by total_exec_time desc limit ${TOP}`,
    )
    return rows
  })
  await writeFile(join(FOLDER, `${name}.statements.json`), `${JSON.stringify(rows, undefined, 2)}\n`)
}

async function asAdmin<T>(connectionString: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
