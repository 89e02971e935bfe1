/**
 * Signing on with the identity provider, in three steps, each of which works once: `begin` sends the browser there,
 * `finish` takes what it came back with and gives a code, and whoever holds the binding that `begin` gave exchanges
 * the code for a session. The binding stays with the browser that began, so that nobody can be signed on as somebody
 * else by a link.
 *
 * Only people with an account or an open invitation get in. They are known by issuer and subject; the first time they
 * are found by an e-mail that the provider vouches for, never by another one.
 */
import type { CallContext } from '../../platform/call-context.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { equalInConstantTime, Secret } from '../../platform/secret.ts'
import { recordAudit } from '../audit/audit.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { loginRefused, normalEmail, type Operator, toOperator } from './account.ts'
import { findByEmail, findLinked, findOperatorRow, insertLink } from './accounts.sql.ts'
import type { OperatorDeps } from './deps.ts'
import { groupRolesOf } from './group-roles.ts'
import { acceptVouched } from './invitations.ts'
import type { OidcChecks, OidcPerson, OidcProvider } from './oidc-provider.ts'
import { newOneTimeToken, sha256 } from './one-time-token.ts'
import type { OperatorRole } from './role.ts'
import { refuse, type SignOn, type SignOnCall, signOn, signOnAfter } from './sign-on.ts'
import { insertTicket, takeTicket } from './tickets.sql.ts'

/** People may have to sign on at the provider, with a second factor there. */
const AWAY_SECONDS = 600
const CODE_SECONDS = 60

export interface OidcDeps extends OperatorDeps {
  readonly provider: OidcProvider
}

const contextOf = (tokenSha256: Buffer): readonly string[] => ['operator-oidc', tokenSha256.toString('hex')]

/** Where to send the browser, and the binding that it keeps. Errors: `identity_provider_unavailable`. */
export async function beginOidc(
  deps: OidcDeps,
  ip: string,
): Promise<{ readonly url: string; readonly binding: Secret }> {
  // Nobody is named yet: one address must not use up what all others need.
  deps.limits.take(`oidc ${ip}`, ip)
  const { url, ...checks } = await deps.provider.begin()
  const binding = newOneTimeToken('sst_')
  const tokenSha256 = sha256(checks.state)
  const now = new Date(deps.clock.now())
  await insertTicket(deps.db, {
    tokenSha256,
    kind: 'oidc_state',
    operatorId: null,
    facts: { binding: binding.sha256.toString('hex') },
    sealed: await deps.envelope.seal(new Secret(JSON.stringify(checks)), contextOf(tokenSha256)),
    now,
    expiresAt: new Date(now.getTime() + AWAY_SECONDS * 1_000),
  })
  return { url, binding: binding.token }
}

/**
 * Takes the query of the callback and gives a code for the session. Errors: `login_refused` for an unknown or used
 * state, an answer that does not verify, and a person without account or invitation; `identity_provider_unavailable`.
 */
export async function finishOidc(
  deps: OidcDeps,
  { query, state }: { readonly query: string; readonly state: string },
  at: SignOnCall,
): Promise<Secret> {
  const { db, clock, envelope, provider } = deps
  const tokenSha256 = sha256(state)
  const now = new Date(clock.now())
  const found = await takeTicket(db, { tokenSha256, kind: 'oidc_state', now })
  if (!found?.sealed) return refuse(at.log, undefined, 'oidc_state')
  const checks = JSON.parse(
    (await envelope.open(found.sealed, contextOf(tokenSha256))).reveal(),
  ) as OidcChecks
  const person = await provider.finish(query, checks)
  const operator = await db.transaction((tx) => knownPerson(tx, deps, person, at.call))
  if (!operator || operator.lockedAt !== null) return refuse(at.log, operator?.id, 'oidc_account')
  const code = newOneTimeToken('sso_')
  await insertTicket(db, {
    tokenSha256: code.sha256,
    kind: 'oidc_code',
    operatorId: operator.id,
    facts: {
      binding: found.facts.binding,
      mfa: person.mfa,
      groupRoles: await groupRolesOf(db, provider.settings.groupRoles, person.groups),
    },
    sealed: null,
    now,
    expiresAt: new Date(now.getTime() + CODE_SECONDS * 1_000),
  })
  return code.token
}

async function knownPerson(
  tx: Tx,
  deps: OidcDeps,
  { issuer, subject, verifiedEmail, name }: OidcPerson,
  call: CallContext,
): Promise<Operator | undefined> {
  const linked = await findLinked(tx, { issuer, subject })
  if (linked) return toOperator(linked)
  if (verifiedEmail === undefined) return undefined
  const email = normalEmail(verifiedEmail)
  const row = await findByEmail(tx, { email })
  const operator = row
    ? toOperator(row)
    : await acceptVouched(tx, deps, { email, name: name ?? email.slice(0, 100) }, call)
  if (!operator) return undefined
  await link(tx, { issuer, subject, operatorId: operator.id })
  await recordAudit(tx, {
    actor: operator.subject,
    reason: 'first sign-on with the identity provider',
    call,
    tenantId: NO_WORKSPACE,
    action: 'operator.linked',
    object: `operator:${email}`,
    diff: [{ path: '/issuer', after: issuer }],
  })
  return operator
}

/** An account that another subject of the issuer has is not given to a second one: addresses change hands. */
const link = (on: Queryable, row: Parameters<typeof insertLink>[1]): Promise<number> =>
  insertLink(on, row).catch((error: unknown) => {
    throw violatesUnique(error, 'operator_link_one_per_issuer') ? loginRefused() : error
  })

/** The code and the binding together give the session, or the ticket for the second factor. Errors: `login_refused`. */
export async function exchangeOidc(
  deps: OperatorDeps,
  { code, binding }: { readonly code: Secret; readonly binding: Secret },
  at: SignOnCall,
): Promise<SignOn> {
  const { db, clock } = deps
  const tokenSha256 = sha256(code.reveal())
  deps.limits.take(tokenSha256.toString('hex'), at.client.ip)
  const found = await takeTicket(db, { tokenSha256, kind: 'oidc_code', now: new Date(clock.now()) })
  const bound = equalInConstantTime(sha256(binding.reveal()).toString('hex'), String(found?.facts.binding))
  const account = found?.operator_id ? await findOperatorRow(db, { id: found.operator_id }) : undefined
  if (!found || !bound || !account) return refuse(at.log, account?.id, 'oidc_code')
  const facts = found.facts as { readonly mfa?: unknown; readonly groupRoles?: readonly OperatorRole[] }
  const proof = { method: 'oidc', groupRoles: facts.groupRoles ?? [] } as const
  return facts.mfa === true
    ? signOn(deps, account.id, { ...proof, mfa: true }, at)
    : signOnAfter(deps, toOperator(account), proof, at)
}
