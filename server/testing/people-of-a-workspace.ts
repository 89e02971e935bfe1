/** People of a workspace, one for each thing that ends their sessions or their role. */
import { toOperator } from '../src/features/operators/account.ts'
import { insertOperator } from '../src/features/operators/accounts.sql.ts'
import { invite } from '../src/features/operators/invitations.ts'
import { newOneTimeToken } from '../src/features/operators/one-time-token.ts'
import type { Operator, OperatorDeps, OperatorRole } from '../src/features/operators/operators.ts'
import { grantRole } from '../src/features/operators/roles.ts'
import { beginEnrolment, confirmEnrolment } from '../src/features/operators/second-factor.ts'
import { beginSession } from '../src/features/operators/sessions.ts'
import { insertTicket } from '../src/features/operators/tickets.sql.ts'
import { totpAt } from '../src/features/operators/totp.ts'
import { newId } from '../src/platform/ids.ts'
import { Secret } from '../src/platform/secret.ts'
import { bytesOfBase32, PASSWORD } from './people.ts'
import { CHANGE } from './tenant-access.ts'

const TASKS = [
  ...['logIn', 'showSecondFactor', 'present', 'logOut', 'endOwnSessions', 'acceptInvitationSignedOn'],
  ...[
    'changePassword',
    'enrolSecondFactor',
    'confirmSecondFactor',
    'removeSecondFactor',
    'renewRecoveryCodes',
  ],
  ...['member', 'setMemberRole', 'removeMember', 'lockOperator', 'resetSecondFactor', 'setPlatformRoles'],
  'exchangeOidc',
] as const
export type Task = (typeof TASKS)[number]

export interface One {
  readonly operator: Operator
  /** The value of an `Authorization` header. */
  readonly bearer: string
  readonly sessionId: string
  readonly recoveryCode: string
  /** Of the app, now: never the step that confirmed it. */
  readonly code: () => string
}

export interface People {
  readonly of: Readonly<Record<Task, One>>
  readonly otherSession: string
  /** Somebody acts as `member`. */
  readonly impersonationId: string
  /** One that is over and waits for its review. */
  readonly emergencyId: string
  /** One that lives. */
  readonly livingEmergencyId: string
  readonly mfaTicket: string
  readonly oidc: { readonly code: string; readonly binding: string }
  /** Open ones, into this workspace. */
  readonly invitations: Readonly<
    Record<
      'accept' | 'signedOn' | 'resend' | 'revoke' | 'resendAny' | 'revokeAny',
      { id: string; token: string }
    >
  >
}

const MINUTES = 60_000
const client = { ip: '127.0.0.1', userAgent: null }

export async function makePeople(deps: OperatorDeps, workspaceId: string, name: string): Promise<People> {
  const { db, clock } = deps
  const passwordHash = await deps.passwords.hash(new Secret(PASSWORD))
  const signedOn = async (operator: Operator) => {
    const proof = { operator, method: 'password', mfa: true, groupRoles: [], client } as const
    const { session, token } = await beginSession(db, clock, proof)
    return { bearer: `Bearer ${token.reveal()}`, sessionId: session.id }
  }
  const person = async (task: Task): Promise<One> => {
    const role: OperatorRole = { workspaceId, role: 'support' }
    const email = `${task.toLowerCase()}@${name}.example.com`
    const operator = await db.transaction(async (tx) => {
      const row = await insertOperator(tx, { id: newId(), email, name: task, passwordHash })
      const made = toOperator(row)
      if (task !== 'acceptInvitationSignedOn')
        await grantRole(tx, clock, made, role, { by: 'a test', change: CHANGE })
      return made
    })
    const secret = bytesOfBase32((await beginEnrolment(deps, operator)).secret.reveal())
    let recoveryCode = ''
    if (!['logIn', 'exchangeOidc', 'confirmSecondFactor'].includes(task)) {
      const code = new Secret(totpAt(secret, clock.now()))
      const codes = await confirmEnrolment(db, deps, { operatorId: operator.id, code })
      recoveryCode = codes?.[0]?.reveal() ?? ''
    }
    return {
      operator,
      ...(await signedOn(operator)),
      recoveryCode,
      code: () => totpAt(secret, clock.now() + 30_000),
    }
  }
  const of = {} as Record<Task, One>
  for (const task of TASKS) of[task] = await person(task)

  const ticket = async (kind: 'mfa' | 'oidc_code', task: Task, facts: Record<string, unknown>) => {
    const { token, sha256: tokenSha256 } = newOneTimeToken(kind === 'mfa' ? 'mfa_' : 'sso_')
    const operatorId = of[task].operator.id
    const [now, expiresAt] = [new Date(clock.now()), new Date(clock.now() + 10 * MINUTES)]
    await insertTicket(db, { tokenSha256, kind, operatorId, facts, sealed: null, now, expiresAt })
    return token.reveal()
  }
  const [impersonationId, emergencyId, livingEmergencyId] = [newId(), newId(), newId()]
  const write = (text: string, values: readonly unknown[]) => db.execute({ name: '', text }, values)
  await write(
    `insert into impersonation (tenant_id, id, token_id, impersonator, subject, read_only, reason, expires_at)
     values ($1, $2, $3, 'operator:someone', $4, true, 'a test', now() + interval '30 minutes')`,
    [workspaceId, impersonationId, newId(), of.member.operator.subject],
  )
  await write(
    `insert into break_glass_session (id, environment, subject, reason, ticket, ip, started_at, expires_at, ended_at, ended_by)
     values ($1, 'dev', 'operator:someone', 'the hub was on fire', 'T-1', '127.0.0.1', now() - interval '20 minutes',
             now() - interval '5 minutes', now() - interval '10 minutes', 'operator:someone')`,
    [emergencyId],
  )
  await write(
    `insert into break_glass_session (id, environment, subject, reason, ticket, ip, expires_at)
     values ($1, 'dev', 'operator:someone', 'the hub is on fire', 'T-2', '127.0.0.1', now() + interval '50 minutes')`,
    [livingEmergencyId],
  )
  const binding = newOneTimeToken('sst_')
  const invitation = async (email: string) => {
    const wanted = {
      email,
      invites: { workspaceId, role: 'read_only' } as const,
      hours: 1,
      byPlatform: false,
    }
    const { invitation: made, token } = await invite(deps, wanted, CHANGE)
    return { id: made.id, token: token.reveal() }
  }
  return {
    of,
    impersonationId,
    emergencyId,
    livingEmergencyId,
    otherSession: (await signedOn(of.present.operator)).sessionId,
    mfaTicket: await ticket('mfa', 'showSecondFactor', { method: 'password', groupRoles: [] }),
    oidc: {
      code: await ticket('oidc_code', 'exchangeOidc', { binding: binding.sha256.toString('hex'), mfa: true }),
      binding: binding.token.reveal(),
    },
    invitations: {
      accept: await invitation(`new@${name}.example.com`),
      signedOn: await invitation(of.acceptInvitationSignedOn.operator.email),
      resend: await invitation(`resend@${name}.example.com`),
      revoke: await invitation(`revoke@${name}.example.com`),
      resendAny: await invitation(`resend-any@${name}.example.com`),
      revokeAny: await invitation(`revoke-any@${name}.example.com`),
    },
  }
}
