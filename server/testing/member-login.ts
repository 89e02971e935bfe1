import { Client } from 'pg'
import { inject } from 'vitest'
import { newId } from '../src/platform/ids.ts'

/** A role that logs in and is a member of the hub's roles, and may nothing else: what docs/database.md recommends. */
export interface Login {
  /** Of the same database. */
  readonly url: string
  drop(): Promise<void>
}

export async function memberLogin(databaseUrl: string): Promise<Login> {
  const name = `login_${newId().replaceAll('-', '')}`
  await asAdmin(`create role ${name} login noinherit password '${name}'`)
  await asAdmin(`grant orchestrator_service, orchestrator_request to ${name}`)
  const url = new URL(databaseUrl)
  url.username = url.password = name
  return { url: url.href, drop: () => asAdmin(`drop role ${name}`) }
}

async function asAdmin(text: string): Promise<void> {
  const admin = new Client({ connectionString: inject('postgres').adminUrl })
  await admin.connect()
  await admin.query(text).finally(() => admin.end())
}
