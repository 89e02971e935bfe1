import type { FastifyRequest } from 'fastify'
import type { Client } from './deps.ts'
import { IDLE_SECONDS, type NewSession, type Session } from './sessions.ts'
import type { SignOn, SignOnCall } from './sign-on.ts'

/** The places where a session's token leaves the hub. */
export const viewSession = ({ session, token }: NewSession) => ({
  session_token: token.reveal(),
  session_id: session.id,
  expires_at: session.expiresAt.toISOString(),
  idle_seconds: IDLE_SECONDS,
})

export const viewSignOn = (result: SignOn) =>
  result.status === 'signed_on'
    ? { status: result.status, ...viewSession(result) }
    : {
        status: result.status,
        ticket: result.ticket.reveal(),
        ticket_expires_at: result.expiresAt.toISOString(),
      }

/** A session for lists; `presentId` is the one that asks. */
export const viewOf = (presentId: string | undefined) => (session: Session) => ({
  id: session.id,
  present: session.id === presentId,
  method: session.method,
  mfa: session.mfa,
  created_at: session.createdAt.toISOString(),
  last_seen_at: session.lastSeenAt.toISOString(),
  expires_at: session.expiresAt.toISOString(),
  ip: session.ip,
  user_agent: session.userAgent,
})

type Call = Pick<FastifyRequest, 'ip' | 'headers' | 'call' | 'log'>

export const clientOf = ({ ip, call }: Pick<Call, 'ip' | 'call'>): Client => ({
  ip,
  userAgent: call.client?.userAgent ?? null,
})

export const signOnCall = (request: Call): SignOnCall => ({
  client: clientOf(request),
  call: request.call,
  log: request.log,
})
