import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { reservedNameFault } from '../reserved-names/reserved-names.ts'
import type * as sql from './secrets.sql.ts'
import { secretFrom } from './stores/store.ts'

export interface SecretRef {
  readonly name: string
  readonly ref: string
  /** Of the value that the hub keeps; null where the value is elsewhere, or not yet put. */
  readonly version: number | null
  /** Of long values that the hub keeps. */
  readonly lastFour: string | null
  /** Where the value was before, while it is still accepted. */
  readonly previous: { readonly ref: string; readonly until: Date } | undefined
  /** When the place or the value was last changed here. */
  readonly rotatedAt: Date
  /** To the minute. */
  readonly lastUsedAt: Date | null
  readonly createdAt: Date
  readonly updatedAt: Date
}

export interface Target {
  readonly tenantId: string
  readonly name: string
}

export const toRef = (row: sql.SecretRefRow): SecretRef => ({
  name: row.name,
  ref: row.ref,
  version: row.version,
  lastFour: row.last_four,
  previous:
    row.previous_accepted && row.previous_ref !== null && row.previous_until !== null
      ? { ref: row.previous_ref, until: row.previous_until }
      : undefined,
  rotatedAt: row.rotated_at,
  lastUsedAt: row.last_used_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

export const absent = (): Problem => new Problem('not_found', 'There is no such secret ref.')

export const refused = (path: string, message: string): Problem =>
  new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })

/** `/secret-refs/health` is an endpoint: a ref of that name could not be read. */
const RESERVED = 'health'

export function nameFault(name: string, actor: string): Problem | undefined {
  const message = name === RESERVED ? 'is reserved' : reservedNameFault(name, actor)
  return message === undefined ? undefined : refused('/path/name', message)
}

/** What no value can be; nothing of it is repeated. */
export function valueFault(value: Secret): Problem | undefined {
  const text = value.reveal()
  if (!text.isWellFormed()) return refused('/body/value', 'is not Unicode text')
  const found = secretFrom(Buffer.from(text))
  if ('why' in found) return refused('/body/value', found.why.replace(/^the value /, ''))
  if (/^(env|file|store|vault):\/\//.test(text))
    return refused('/body/value', 'is a ref: PUT /secret-refs/:name takes it')
  return undefined
}
