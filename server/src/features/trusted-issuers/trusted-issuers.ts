/**
 * The door of the trusted issuers: identity providers outside of the hub whose tokens one workspace accepts.
 *
 * Invariants. A token chooses its workspace by `tid` and its issuer by `iss`, and is accepted only when that workspace
 * trusts that issuer. Its subject is `ext:<name of the issuer>:<sub>`, which no subject of the hub can be; its scopes are
 * those that the issuer may give. Every change ends the tokens of before on all processes within 5 s.
 */
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import type { Scope } from '../identities/identities.ts'
import { ISSUER_CHANNEL, sessionOf } from './issuer-directory.ts'
import * as sql from './trusted-issuers.sql.ts'

export { checkExternalToken } from './external-tokens.ts'
export { createIssuerDirectory, type IssuerDirectory } from './issuer-directory.ts'

/** All of them are in the memory of every process. */
const MOST_PER_WORKSPACE = 20

export interface Trust {
  /** The exact `iss` claim. */
  readonly issuer: string
  readonly jwksUrl: string
  readonly scopes: readonly Scope[]
  /** The exact `sub` claims that are accepted; null = all. */
  readonly subjects: readonly string[] | null
}

/** What this hub asks of an issuer before it trusts it. */
export interface IssuerRules {
  /** The `iss` of the hub itself, which nobody else may have. */
  readonly ownIssuer: string
  /** Whether the keys may come over plain HTTP: in dev only. */
  readonly allowHttp: boolean
  /** Why a URL can never be dialled; undefined = it may be. */
  readonly refusal: (url: string) => string | undefined
}

export interface TrustedIssuer extends Omit<Trust, 'scopes'> {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly createdAt: Date
  readonly updatedAt: Date
}

interface Target {
  readonly tenantId: string
  readonly id: string
}

const toIssuer = (row: sql.TrustedIssuerRow): TrustedIssuer => ({
  id: row.id,
  name: row.name,
  issuer: row.issuer,
  jwksUrl: row.jwks_url,
  scopes: row.scopes,
  subjects: row.subjects,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const shown = ({ issuer, jwks_url, scopes, subjects }: sql.TrustedIssuerRow) => ({
  issuer,
  jwks_url,
  scopes,
  subjects,
})

const absent = (): Problem => new Problem('not_found', 'There is no such trusted issuer.')

function check({ issuer, jwksUrl }: Trust, { ownIssuer, allowHttp, refusal }: IssuerRules): void {
  const bad = (path: string, message: string): Problem =>
    new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })
  if (issuer === ownIssuer) throw bad('/body/issuer', 'is the issuer of this hub itself')
  const url = URL.parse(jwksUrl)
  if (url?.hash !== '') throw bad('/body/jwks_url', 'must be a URL without a fragment')
  if (url.protocol !== 'https:' && !(allowHttp && url.protocol === 'http:'))
    throw bad('/body/jwks_url', allowHttp ? 'must be http or https' : 'must be https')
  const refused = refusal(jwksUrl)
  if (refused !== undefined) throw bad('/body/jwks_url', `cannot be called: ${refused}`)
}

/** What was issued under the trust of before ends; every process reads the trust of now. */
async function announce(tx: Tx, before: sql.TrustedIssuerRow | undefined, tenantId: string): Promise<void> {
  if (before) await endTokens(tx, { tenantId, sessionId: sessionOf(before) })
  await notify(tx, { channel: ISSUER_CHANNEL, payload: '' })
}

const taken = (error: unknown): unknown =>
  violatesUnique(error, 'trusted_issuer_name_key')
    ? new Problem('conflict', 'A trusted issuer has this name already.')
    : violatesUnique(error, 'trusted_issuer_issuer_key')
      ? new Problem('conflict', 'The workspace trusts this issuer already.')
      : error

/** Errors: `validation_error` for issuer and URL, `conflict` for a name or issuer that it has, or too many. */
export async function trustIssuer(
  db: Db,
  rules: IssuerRules,
  { tenantId, name, ...trust }: Trust & { readonly tenantId: string; readonly name: string },
  change: Change,
): Promise<TrustedIssuer> {
  check(trust, rules)
  try {
    return await db.transaction(async (tx) => {
      const wanted = { ...trust, tenantId, id: newId(), name, limit: MOST_PER_WORKSPACE }
      const row = await sql.insertIssuer(tx, wanted)
      if (!row) throw new Problem('conflict', `A workspace trusts at most ${MOST_PER_WORKSPACE} issuers.`)
      await announce(tx, undefined, tenantId)
      await recordAudit(tx, {
        ...change,
        tenantId,
        action: 'trusted_issuer.created',
        object: `trusted_issuer:${name}`,
        diff: [{ path: '', after: shown(row) }],
      })
      return toIssuer(row)
    })
  } catch (error) {
    throw taken(error)
  }
}

/** Replaces all but the name. Errors: as for a new one, and `not_found`. */
export async function changeIssuer(
  db: Db,
  rules: IssuerRules,
  { tenantId, id, ...trust }: Trust & Target,
  change: Change,
): Promise<TrustedIssuer> {
  check(trust, rules)
  try {
    return await db.transaction(async (tx) => {
      const before = await sql.lockIssuer(tx, { tenantId, id })
      if (!before) throw absent()
      const row = await sql.updateIssuer(tx, { ...trust, tenantId, id })
      await announce(tx, before, tenantId)
      await recordAudit(tx, {
        ...change,
        tenantId,
        action: 'trusted_issuer.changed',
        object: `trusted_issuer:${row.name}`,
        diff: [{ path: '', before: shown(before), after: shown(row) }],
      })
      return toIssuer(row)
    })
  } catch (error) {
    throw taken(error)
  }
}

/** Errors: `not_found`. */
export async function distrustIssuer(db: Db, { tenantId, id }: Target, change: Change): Promise<void> {
  await db.transaction(async (tx) => {
    const row = await sql.deleteIssuer(tx, { tenantId, id })
    if (!row) throw absent()
    await announce(tx, row, tenantId)
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'trusted_issuer.deleted',
      object: `trusted_issuer:${row.name}`,
      diff: [{ path: '', before: shown(row) }],
    })
  })
}

/** Errors: `not_found`. */
export async function getIssuer(on: Queryable, target: Target): Promise<TrustedIssuer> {
  const row = await sql.findIssuer(on, target)
  if (!row) throw absent()
  return toIssuer(row)
}

/** Newest first. */
export async function listIssuers(
  on: Queryable,
  filter: { readonly tenantId: string; readonly beforeId?: string | undefined; readonly limit: number },
): Promise<TrustedIssuer[]> {
  return (await sql.listRows(on, filter)).map(toIssuer)
}
