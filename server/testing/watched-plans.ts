import { Client, type QueryResultRow } from 'pg'
import { inject } from 'vitest'
import type { Queryable } from '../src/platform/db/statement.ts'

/** A connection that tells how Postgres carried out what ran on it, statements inside functions included. */
export interface WatchedPlans {
  readonly db: Queryable
  /** Pages that the last statement touched, in memory or not, everything inside it included. */
  pages(): number
  /** The plans of the last statement and of those inside it, as they were used, in JSON. */
  plans(): string
  close(): Promise<void>
}

interface Plan {
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
}

/** Opens it as a superuser, who alone may load the module that tells; what runs on it runs as the processes do. */
export async function watchPlans(
  databaseUrl: string,
  session: Readonly<Record<string, string>>,
): Promise<WatchedPlans> {
  const url = new URL(inject('postgres').adminUrl)
  url.pathname = new URL(databaseUrl).pathname
  const client = new Client({
    connectionString: url.href,
    options: Object.entries(session)
      .map(([key, value]) => `-c ${key}=${value}`)
      .join(' '),
  })
  let told: string[] = []
  client.on('notice', ({ message }) => told.push(message ?? ''))
  await client.connect()
  await client.query(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
    set auto_explain.log_buffers = on; set auto_explain.log_timing = off; set auto_explain.log_format = json;
    set auto_explain.log_nested_statements = on; set client_min_messages = log; set role orchestrator_service`)
  return {
    db: {
      execute: <Row extends QueryResultRow>(
        { text }: { readonly text: string },
        values: readonly unknown[],
      ) => {
        told = []
        return client.query<Row>(text, [...values])
      },
    },
    pages: () => {
      // The statement itself ends after those inside it, and counts them in.
      const { Plan: plan } = JSON.parse(told.at(-1)?.replace(/^[^{]*/, '') ?? '') as { Plan: Plan }
      return plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
    },
    plans: () => told.join('\n'),
    close: () => client.end(),
  }
}
