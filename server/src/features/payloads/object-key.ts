import type { Queryable } from '../../platform/db/statement.ts'
import { timeOfId } from '../../platform/ids.ts'
import { readHub } from './payloads.sql.ts'

/** It never changes, but a process can have several databases in its life: tests have. */
const hubs = new WeakMap<Queryable, Promise<string>>()

/** What the keys of this hub's objects begin with. */
export function hubId(db: Queryable): Promise<string> {
  const known = hubs.get(db)
  if (known) return known
  const read = readHub(db, undefined).then(({ id }) => id)
  hubs.set(db, read)
  read.catch(() => hubs.delete(db))
  return read
}

export const dayPrefix = (hub: string, day: string): string => `${hub}/${day}/`

/** By day, so that the search for objects without a row looks through each day once. */
export async function objectKey(db: Queryable, tenantId: string, id: string): Promise<string> {
  const day = new Date(timeOfId(id) ?? 0).toISOString().slice(0, 10)
  return `${dayPrefix(await hubId(db), day)}${tenantId}/${id}`
}

const KEY = /^[0-9a-f-]{36}\/\d{4}-\d\d-\d\d\/([0-9a-f-]{36})\/([0-9a-f-]{36})$/

/** Whose object it is; undefined for a key that we have not made. */
export function ownerOfKey(key: string): { readonly tenantId: string; readonly id: string } | undefined {
  const [, tenantId, id] = KEY.exec(key) ?? []
  return tenantId !== undefined && id !== undefined && timeOfId(id) !== undefined
    ? { tenantId, id }
    : undefined
}
