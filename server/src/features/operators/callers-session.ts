import type { FastifyRequest } from 'fastify'
import { tokenRefused } from '../../platform/auth/tokens.ts'
import type { OperatorDeps } from './deps.ts'
import type { OwnCall } from './own-account.ts'
import { findSession } from './sessions.ts'
import { clientOf } from './sign-on.views.ts'
import { enrolmentRequired, mayOnlyEnrol, rolesOfSession } from './workspace-token.ts'

type Request = Pick<FastifyRequest, 'principal' | 'ip' | 'call'>

/** From the caller of `/auth` to their session. Errors: `auth_required`. */
export function callersSession({ db, clock }: Pick<OperatorDeps, 'db' | 'clock'>) {
  const anySession = async (request: Request): Promise<OwnCall> => {
    const { sessionId } = request.principal
    const session = sessionId === undefined ? undefined : await findSession(db, clock, sessionId)
    if (!session) throw tokenRefused()
    return { session, client: clientOf(request), call: request.call }
  }
  return {
    /** Also one that may only enrol a second factor. */
    anySession,
    /** Errors besides: `mfa_enrolment_required`. */
    fullSession: async (request: Request): Promise<OwnCall> => {
      const found = await anySession(request)
      if (mayOnlyEnrol(found.session, await rolesOfSession(db, found.session))) throw enrolmentRequired()
      return found
    },
  }
}
