import type { HttpServer } from '../../platform/http/server.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { OperatorDeps } from './deps.ts'
import { acceptAsNew } from './invitations.ts'
import type { OidcProvider } from './oidc-provider.ts'
import { beginOidc, exchangeOidc, finishOidc, type OidcDeps } from './oidc-sign-on.ts'
import {
  AcceptBody,
  CallbackQuery,
  LoginBody,
  MfaBody,
  OidcCode,
  OidcSessionBody,
  OidcStart,
  SignOnView,
} from './sign-on.schema.ts'
import { logIn, showSecondFactor } from './sign-on.ts'
import { signOnCall, viewSignOn } from './sign-on.views.ts'

export interface SignOnDeps extends OperatorDeps {
  /** Undefined = people sign on by password only. */
  readonly provider: OidcProvider | undefined
}

/**
 * How people come in: `/auth` without a session. Nothing here reads or sets a cookie, so another site's page cannot
 * use what a browser holds; a console that wants cookies keeps them on its own side.
 */
export function signOnControl(app: HttpServer, deps: SignOnDeps): void {
  const tags = ['sign-on']
  const config = { access: 'public' } as const
  const answers = { 200: SignOnView }

  app.post(
    '/auth/login',
    {
      config,
      schema: {
        operationId: 'logIn',
        tags,
        summary: 'Sign on with a password',
        description:
          'Gives a session, or a ticket for the second factor. The refusal is the same for every cause. Failures are counted over all nodes: from the fifth on an account rests, longer each time.',
        body: LoginBody,
        response: answers,
      },
    },
    async (request, reply) => {
      const { email, password } = request.body
      const signOn = await logIn(deps, { email, password: new Secret(password) }, signOnCall(request))
      return reply.header('cache-control', 'no-store').send(viewSignOn(signOn))
    },
  )

  app.post(
    '/auth/mfa',
    {
      config,
      schema: {
        operationId: 'showSecondFactor',
        tags,
        summary: 'Show the second factor',
        description: 'A ticket takes five tries within five minutes.',
        body: MfaBody,
        response: answers,
      },
    },
    async (request, reply) => {
      const { ticket, code } = request.body
      const given = { ticket: new Secret(ticket), code: new Secret(code) }
      const signOn = await showSecondFactor(deps, given, signOnCall(request))
      return reply.header('cache-control', 'no-store').send(viewSignOn(signOn))
    },
  )

  app.post(
    '/auth/invitations/accept',
    {
      config,
      schema: {
        operationId: 'acceptInvitation',
        tags,
        summary: 'Accept an invitation as somebody new',
        description: 'Makes the account and signs on. Whoever has an account accepts with their session.',
        body: AcceptBody,
        response: answers,
      },
    },
    async (request, reply) => {
      const { token, name, password } = request.body
      const given = { token: new Secret(token), name: name.trim(), password: new Secret(password) }
      const signOn = await acceptAsNew(deps, given, signOnCall(request))
      return reply.header('cache-control', 'no-store').send(viewSignOn(signOn))
    },
  )

  app.get(
    '/auth/oidc/start',
    {
      config,
      schema: {
        operationId: 'startOidc',
        tags,
        summary: 'Begin to sign on with the identity provider',
        response: { 200: OidcStart },
      },
    },
    async ({ ip }, reply) => {
      const { url, binding } = await beginOidc(withProvider(deps), ip)
      return reply
        .header('cache-control', 'no-store')
        .send({ authorization_url: url, binding: binding.reveal() })
    },
  )

  app.get(
    '/auth/oidc/callback',
    {
      config,
      schema: {
        operationId: 'finishOidc',
        tags,
        summary: 'Hand on what the identity provider sent the browser back with',
        description:
          'The console calls it with the whole query of its redirect address. The code that it gives is worth nothing without the binding.',
        querystring: CallbackQuery,
        response: { 200: OidcCode },
      },
    },
    async (request, reply) => {
      const query = new URLSearchParams(request.query as Record<string, string>).toString()
      const { state } = request.query
      const code = await finishOidc(withProvider(deps), { query, state }, signOnCall(request))
      return reply.header('cache-control', 'no-store').send({ code: code.reveal() })
    },
  )

  app.post(
    '/auth/oidc/session',
    {
      config,
      schema: {
        operationId: 'exchangeOidc',
        tags,
        summary: 'Exchange the code of the callback for a session',
        body: OidcSessionBody,
        response: answers,
      },
    },
    async (request, reply) => {
      const { code, binding } = request.body
      const given = { code: new Secret(code), binding: new Secret(binding) }
      const signOn = await exchangeOidc(deps, given, signOnCall(request))
      return reply.header('cache-control', 'no-store').send(viewSignOn(signOn))
    },
  )
}

function withProvider(deps: SignOnDeps): OidcDeps {
  const { provider } = deps
  if (!provider) throw new Problem('not_found', 'Sign-on with an identity provider is not set up.')
  return { ...deps, provider }
}
