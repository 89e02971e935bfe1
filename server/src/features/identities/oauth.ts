import { clientCertificateSha256 } from '../../platform/http/client-certificate.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { answerProblem, asProblem } from '../../platform/http/problem-answers.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import {
  type ClientCredentials,
  issueByClientCredentials,
  oauthProblem,
  type TokenEndpointDeps,
} from './client-credentials.ts'
import { Jwks, TokenAnswer, TokenRequest } from './oauth.schema.ts'
import type { Plane } from './scopes.ts'

const FORM = 'application/x-www-form-urlencoded'
const FORM_LIMIT_BYTES = 4_096
/** Shorter than the time a new key is published before it signs. */
const JWKS_MAX_AGE_SECONDS = 30

/** `POST /oauth/token` and `GET /.well-known/jwks.json` of one plane. The audience is that of the plane, never asked for. */
export function addTokenRoutes(app: HttpServer, plane: Plane, deps: TokenEndpointDeps): void {
  app.get(
    '/.well-known/jwks.json',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getJwks',
        tags: ['tokens'],
        summary: 'Public keys that verify the tokens of this plane (RFC 7517)',
        response: { 200: Jwks },
      },
    },
    async (_request, reply) =>
      reply
        .type('application/jwk-set+json')
        .header('cache-control', `public, max-age=${JWKS_MAX_AGE_SECONDS}`)
        .send({ keys: [...deps.keys.jwks().keys] }),
  )
  // A scope of its own: forms are read here and nowhere else, and errors carry what OAuth clients look for.
  app.register(async (scope: HttpServer) => addTokenRoute(scope, plane, deps))
}

function addTokenRoute(app: HttpServer, plane: Plane, deps: TokenEndpointDeps): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    FORM,
    { parseAs: 'string', bodyLimit: FORM_LIMIT_BYTES },
    (_request, body, done) => {
      try {
        done(null, parseForm(String(body)))
      } catch (error) {
        done(error as Error)
      }
    },
  )
  app.setErrorHandler((error, request, reply) =>
    answerProblem(request, reply, withOAuthMembers(asProblem(error))),
  )
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('pragma', 'no-cache')
    // RFC 6749 §5.2: the scheme that this endpoint takes, which is not Bearer.
    if (reply.statusCode === 401) reply.header('www-authenticate', 'Basic realm="oauth", charset="UTF-8"')
  })

  app.post(
    '/oauth/token',
    {
      config: { access: 'public' },
      bodyLimit: FORM_LIMIT_BYTES,
      schema: {
        operationId: 'issueToken',
        tags: ['tokens'],
        summary: 'A token for a service identity (OAuth 2 client credentials, RFC 6749 §4.4)',
        description:
          'The client authenticates by HTTP Basic or by `client_id` and `client_secret` in the form. ' +
          'Errors are problem documents with the members `error` and `error_description` of RFC 6749 §5.2.',
        consumes: [FORM],
        body: TokenRequest,
        response: { 200: TokenAnswer },
      },
    },
    async (request) => {
      const credentials = readCredentials(request.headers.authorization, request.body)
      const issued = await issueByClientCredentials(
        deps,
        plane,
        { ...credentials, certificateSha256: clientCertificateSha256(request.socket) },
        request.log,
      )
      return {
        access_token: issued.token,
        token_type: 'Bearer' as const,
        expires_in: issued.lifetimeSeconds,
        scope: issued.scopes.join(' '),
      }
    },
  )
}

const invalid = (detail: string, path: string): Problem =>
  oauthProblem('validation_error', 'invalid_request', detail, path)

/** Errors: a parameter that comes twice (RFC 6749 §3.2). One without a value counts as absent. */
function parseForm(text: string): Record<string, string> {
  const form = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (form.has(name)) throw invalid('A parameter of the form is repeated.', repeatedPath(name))
    if (value !== '') form.set(name, value)
  }
  return Object.fromEntries(form)
}

/** Only a known name is repeated: people paste secrets into the wrong field. */
const repeatedPath = (name: string): string =>
  Object.hasOwn(TokenRequest.properties, name) ? `/body/${name}` : '/body'

/** Client credentials from one of the two places that RFC 6749 §2.3.1 allows, never from both. */
function readCredentials(authorization: string | undefined, form: TokenRequest): ClientCredentials {
  if (form.grant_type === undefined) throw invalid('The parameter grant_type is missing.', '/body/grant_type')
  if (form.grant_type !== 'client_credentials')
    throw oauthProblem(
      'validation_error',
      'unsupported_grant_type',
      'The grant_type must be client_credentials.',
      '/body/grant_type',
    )
  const { client_id, client_secret, scope } = form
  if (authorization !== undefined) {
    if (client_secret !== undefined)
      throw invalid('The client secret is sent twice: by HTTP Basic and in the form.', '/body/client_secret')
    const basic = readBasic(authorization)
    if (client_id !== undefined && client_id !== basic.clientId)
      throw invalid('The client id in the form is not the one of HTTP Basic.', '/body/client_id')
    return { ...basic, scope }
  }
  if (client_id === undefined) throw invalid('The parameter client_id is missing.', '/body/client_id')
  if (client_secret === undefined)
    throw invalid('The parameter client_secret is missing.', '/body/client_secret')
  return { clientId: client_id, clientSecret: new Secret(client_secret), scope }
}

function readBasic(authorization: string): { clientId: string; clientSecret: Secret } {
  const encoded = /^basic +([A-Za-z0-9+/=_-]{1,1000})$/i.exec(authorization)?.[1]
  const text = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  if (colon < 1)
    throw invalid(
      'The Authorization header is not HTTP Basic with client id and secret.',
      '/headers/authorization',
    )
  return {
    clientId: formDecoded(text.slice(0, colon)),
    clientSecret: new Secret(formDecoded(text.slice(colon + 1))),
  }
}

/** Both parts are form-encoded before they are joined (RFC 6749 §2.3.1); ours are the same either way. */
const formDecoded = (text: string): string =>
  new URLSearchParams(`v=${text.replaceAll('&', '%26')}`).get('v') ?? ''

/** Faults that the server itself found in the request: to an OAuth client each is an `invalid_request`. */
function withOAuthMembers(problem: Problem): Problem {
  if (problem.extra.members !== undefined || problem.status >= 500) return problem
  return new Problem(problem.code, problem.message, {
    ...problem.extra,
    members: { error: 'invalid_request', error_description: problem.message },
  })
}
