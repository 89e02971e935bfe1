/**
 * The identity provider by OpenID Connect: authorization code with PKCE (S256), state and nonce; issuer, audience,
 * signature and times of the ID token are checked by the library. Every request to it goes through the guarded dial.
 */
import * as client from 'openid-client'
import type { Clock } from '../../platform/clock.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { DialFailure } from '../../platform/dial/dial-failure.ts'
import type { Log } from '../../platform/log.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { loginRefused } from './account.ts'

/** A group of the provider and the role that it gives for a session; in the workspace with this slug, or on the platform. */
export interface GroupRole {
  readonly group: string
  readonly role: string
  readonly workspace: string | undefined
}

export interface OidcSettings {
  readonly issuer: string
  readonly clientId: string
  /** Absent = a public client, which PKCE protects alone. */
  readonly clientSecret: Secret | undefined
  /** Where the provider sends the browser back to: a page of the console. */
  readonly redirectUrl: string
  /** Values of `acr` or `amr` that mean that the provider has asked for a second factor. Empty = none does. */
  readonly mfaValues: readonly string[]
  readonly groupsClaim: string
  readonly groupRoles: readonly GroupRole[]
}

/** What only this hub and the provider may know of a sign-on that is under way. */
export interface OidcChecks {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

export interface OidcPerson {
  readonly issuer: string
  readonly subject: string
  /** Only one that the provider vouches for. */
  readonly verifiedEmail: string | undefined
  readonly name: string | undefined
  readonly groups: readonly string[]
  readonly mfa: boolean
}

export interface OidcProvider {
  readonly settings: OidcSettings
  /** Where to send the browser. Errors: `identity_provider_unavailable`. */
  begin(): Promise<OidcChecks & { readonly url: string }>
  /** From the query that the browser came back with. Errors: `login_refused`, `identity_provider_unavailable`. */
  finish(query: string, checks: OidcChecks): Promise<OidcPerson>
}

const TIMEOUT_MS = 10_000
const MAX_RESPONSE_BYTES = 512 * 1024
/** After that its endpoints are asked for again. */
const KNOWN_FOR_MS = 3_600_000

export function createOidcProvider(options: {
  readonly settings: OidcSettings
  readonly dial: Pick<Dial, 'request'>
  readonly clock: Clock
  readonly log: Pick<Log, 'warn'>
}): OidcProvider {
  const { settings, dial, clock, log } = options
  const plainHttp = new URL(settings.issuer).protocol === 'http:'
  let known: { readonly since: number; readonly configuration: Promise<client.Configuration> } | undefined

  const discover = (): Promise<client.Configuration> =>
    client.discovery(
      new URL(settings.issuer),
      settings.clientId,
      undefined,
      settings.clientSecret ? client.ClientSecretBasic(settings.clientSecret.reveal()) : client.None(),
      {
        [client.customFetch]: fetchOver(dial),
        timeout: TIMEOUT_MS / 1_000,
        execute: plainHttp ? [client.allowInsecureRequests] : [],
      },
    )

  const configuration = (): Promise<client.Configuration> => {
    if (known && clock.monotonic() - known.since < KNOWN_FOR_MS) return known.configuration
    const found = { since: clock.monotonic(), configuration: discover() }
    known = found
    // A provider that was away is asked again by the next sign-on.
    found.configuration.catch(() => {
      if (known === found) known = undefined
    })
    return found.configuration
  }

  /** The errors of the library carry answers of the provider: their text goes nowhere. */
  const failed = (error: unknown, otherwise: () => Problem): Problem => {
    log.warn(
      { why: error instanceof Error ? error.name : 'unknown', code: codeOf(error) },
      'sign-on by OIDC failed',
    )
    return isAway(error)
      ? new Problem('identity_provider_unavailable', 'The identity provider does not answer.')
      : otherwise()
  }
  const misconfigured = () =>
    new Problem('identity_provider_unavailable', 'The identity provider does not answer as one.')

  return {
    settings,
    begin: async () => {
      const on = await configuration().catch((error: unknown) => {
        throw failed(error, misconfigured)
      })
      const verifier = client.randomPKCECodeVerifier()
      const [state, nonce] = [client.randomState(), client.randomNonce()]
      const url = client.buildAuthorizationUrl(on, {
        redirect_uri: settings.redirectUrl,
        scope: 'openid email profile',
        response_type: 'code',
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state,
        nonce,
      })
      return { url: url.href, state, nonce, verifier }
    },
    finish: async (query, { state, nonce, verifier }) => {
      try {
        const url = new URL(settings.redirectUrl)
        url.search = query
        const tokens = await client.authorizationCodeGrant(await configuration(), url, {
          pkceCodeVerifier: verifier,
          expectedState: state,
          expectedNonce: nonce,
          idTokenExpected: true,
        })
        const claims = tokens.claims()
        if (!claims) throw loginRefused()
        return personOf(claims, settings)
      } catch (error) {
        throw failed(error, loginRefused)
      }
    },
  }
}

const texts = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((one): one is string => typeof one === 'string')

function personOf(claims: client.IDToken, { mfaValues, groupsClaim }: OidcSettings): OidcPerson {
  const { iss, sub, email, email_verified: verified, name, acr, amr } = claims
  return {
    issuer: iss,
    subject: sub,
    verifiedEmail: verified === true && typeof email === 'string' ? email : undefined,
    name: typeof name === 'string' && name.trim() !== '' ? name.trim().slice(0, 100) : undefined,
    groups: texts(claims[groupsClaim]),
    mfa: [...texts(acr), ...texts(amr)].some((value) => mfaValues.includes(value)),
  }
}

/** An answer of 5xx: the provider is there and cannot work. */
class ProviderFailure extends Error {}

const fetchOver =
  (dial: Pick<Dial, 'request'>): client.CustomFetch =>
  async (url, { method, headers, body, signal }) => {
    const answer = await dial.request({
      method: method as 'GET' | 'POST',
      url,
      headers,
      ...(body !== undefined && body !== null && { body: String(body) }),
      signal: signal ?? AbortSignal.timeout(TIMEOUT_MS),
      connectTimeoutMs: 3_000,
      maxResponseBytes: MAX_RESPONSE_BYTES,
    })
    if (answer.status >= 500) throw new ProviderFailure('the identity provider failed')
    const empty = answer.status === 204 || answer.status === 304
    return new Response(empty ? null : new Uint8Array(answer.body), {
      status: answer.status,
      headers: { ...answer.headers },
    })
  }

const codeOf = (error: unknown): string | undefined => {
  const { code } = (error ?? {}) as { readonly code?: unknown }
  return typeof code === 'string' ? code : undefined
}

/** The library wraps what the request failed with. */
function isAway(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1)
    if (at instanceof DialFailure || at instanceof ProviderFailure || at.name === 'TimeoutError') return true
  return false
}
