import type { HttpServer } from '../../platform/http/server.ts'
import { Secret } from '../../platform/secret.ts'
import { callersSession } from './callers-session.ts'
import type { OperatorDeps } from './deps.ts'
import * as schema from './own-account.schema.ts'
import * as own from './own-account.ts'
import { EnrolledView, SignedOnView } from './sign-on.schema.ts'
import { viewSession } from './sign-on.views.ts'

/** One's own second factor. */
export function secondFactorControl(app: HttpServer, deps: OperatorDeps): void {
  const { anySession, fullSession } = callersSession(deps)
  const config = { access: { permission: 'account.own' } }
  const tags = ['own account']

  app.post(
    '/auth/totp',
    {
      config,
      schema: {
        operationId: 'enrolSecondFactor',
        tags,
        summary: 'Make a secret for an authenticator app',
        description: 'It counts from its first code on. Whoever has a second factor shows it to replace it.',
        body: schema.EnrolBody,
        response: { 200: schema.EnrolmentView },
      },
    },
    async (request, reply) => {
      const { code } = request.body
      const found = await anySession(request)
      const enrolment = await own.enrol(deps, found, code === undefined ? undefined : new Secret(code))
      return reply
        .header('cache-control', 'no-store')
        .send({ secret: enrolment.secret.reveal(), otpauth_url: enrolment.otpauthUrl.reveal() })
    },
  )

  app.post(
    '/auth/totp/confirm',
    {
      config,
      schema: {
        operationId: 'confirmSecondFactor',
        tags,
        summary: 'Show the first code; ends all sessions and gives another, with recovery codes',
        body: schema.CodeBody,
        response: { 200: EnrolledView },
      },
    },
    async (request, reply) => {
      const confirmed = await own.confirm(deps, await anySession(request), new Secret(request.body.code))
      return reply.header('cache-control', 'no-store').send({
        ...viewSession(confirmed),
        recovery_codes: confirmed.recoveryCodes.map((code) => code.reveal()),
      })
    },
  )

  app.post(
    '/auth/totp/remove',
    {
      config,
      schema: {
        operationId: 'removeSecondFactor',
        tags,
        summary: 'Take the second factor away; ends all sessions and gives another',
        body: schema.CodeBody,
        response: { 200: SignedOnView },
      },
    },
    async (request, reply) => {
      const call = await fullSession(request)
      const session = await own.removeOwnSecondFactor(deps, call, new Secret(request.body.code))
      return reply.header('cache-control', 'no-store').send(viewSession(session))
    },
  )

  app.post(
    '/auth/recovery-codes',
    {
      config,
      schema: {
        operationId: 'renewRecoveryCodes',
        tags,
        summary: 'Make new recovery codes for a code of the app; the ones before are worth nothing',
        body: schema.CodeBody,
        response: { 200: schema.RecoveryCodesView },
      },
    },
    async (request, reply) => {
      const call = await fullSession(request)
      const codes = await own.renewRecoveryCodes(deps, call, new Secret(request.body.code))
      return reply
        .header('cache-control', 'no-store')
        .send({ recovery_codes: codes.map((code) => code.reveal()) })
    },
  )
}
