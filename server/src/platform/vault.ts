/**
 * A session with a HashiCorp Vault or OpenBao server over its HTTP API: it logs in by itself, renews its token
 * before it ends, and logs in again when the server no longer takes it.
 *
 * Invariants. Every call goes to the configured address and follows no redirect. A token is never in an error or in
 * the log. One refused request leads to one new login at most.
 */
import type { Clock } from './clock.ts'
import type { Dial } from './dial/dial.ts'
import { DialFailure } from './dial/dial-failure.ts'
import type { Log } from './log.ts'
import { Secret } from './secret.ts'

export type VaultLogin =
  | { readonly method: 'token'; token(): Promise<Secret> }
  | { readonly method: 'approle'; readonly roleId: string; secretId(): Promise<Secret> }

export interface VaultOptions {
  /** Base URL, e.g. https://vault.internal:8200. */
  readonly address: string
  readonly login: VaultLogin
  /** For `X-Vault-Namespace`. */
  readonly namespace: string | undefined
  readonly dial: Pick<Dial, 'request'>
  readonly clock: Clock
  readonly log: Log
}

export interface VaultAnswer {
  readonly status: number
  /** The parsed body; undefined when there is none. */
  readonly body: unknown
}

export interface Vault {
  /** One request below `/v1/`. Gives every answer below 500 but a lasting 403. Errors: `VaultFailure`. */
  request(method: 'GET' | 'POST', path: string, body?: object): Promise<VaultAnswer>
  close(): void
}

/** The sentence says nothing that is secret. `passing`: the same may succeed later. */
export class VaultFailure extends Error {
  override readonly name = 'VaultFailure'
  readonly passing: boolean

  constructor(message: string, passing: boolean, options?: ErrorOptions) {
    super(message, options)
    this.passing = passing
  }
}

interface Session {
  readonly token: Secret
  readonly since: number
}

const REQUEST_MS = 2_500
const CONNECT_MS = 1_500
const MAX_ANSWER_BYTES = 1024 * 1024
/** A token this young is not given up for a 403: it is the policy that refuses, and every read would log in. */
const YOUNG_TOKEN_MS = 5_000
/** A failed renewal is tried again after this time. */
const RENEW_RETRY_MS = 5_000
const MAX_TIMER_MS = 24 * 3_600_000

export function createVault(options: VaultOptions): Vault {
  const { clock, log, login } = options
  let session: Promise<Session> | undefined
  let stopTimer: (() => void) | undefined
  let closed = false

  const send = async (method: 'GET' | 'POST', path: string, token?: Secret, body?: object) => {
    try {
      const response = await options.dial.request({
        method,
        url: `${options.address.replace(/\/+$/, '')}/v1/${path}`,
        headers: {
          accept: 'application/json',
          'x-vault-request': 'true',
          ...(body && { 'content-type': 'application/json' }),
          ...(token && { 'x-vault-token': token.reveal() }),
          ...(options.namespace !== undefined && { 'x-vault-namespace': options.namespace }),
        },
        ...(body && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(REQUEST_MS),
        connectTimeoutMs: CONNECT_MS,
        maxResponseBytes: MAX_ANSWER_BYTES,
      })
      return { status: response.status, body: parsed(response.body) }
    } catch (error) {
      if (!(error instanceof DialFailure)) throw error
      throw new VaultFailure(`Vault does not answer (${error.class})`, true, { cause: error })
    }
  }

  const renewIn = (leaseSeconds: number): void => {
    stopTimer?.()
    // Two thirds of the lease: a failed renewal leaves time for the next ones.
    if (leaseSeconds > 0 && !closed)
      stopTimer = clock.after(Math.min((leaseSeconds * 2_000) / 3, MAX_TIMER_MS), () => void renew())
  }

  const renew = async (): Promise<void> => {
    try {
      const { token } = await current()
      const { status, body } = await send('POST', 'auth/token/renew-self', token, {})
      const { lease } = authOf(body)
      if (status === 200 && lease > 0) return renewIn(lease)
      // At its longest life, or revoked: the next call logs in.
      session = undefined
      await current()
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'the Vault token could not be renewed')
      if (!closed) stopTimer = clock.after(RENEW_RETRY_MS, () => void renew())
    }
  }

  const logIn = async (): Promise<Session> => {
    const since = clock.monotonic()
    if (login.method === 'approle') {
      const credentials = { role_id: login.roleId, secret_id: (await login.secretId()).reveal() }
      const { status, body } = await send('POST', 'auth/approle/login', undefined, credentials)
      const { token, lease } = authOf(body)
      if (status !== 200 || !token) throw refusal(status, 'Vault refuses the AppRole login')
      renewIn(lease)
      return { token, since }
    }
    const token = await login.token()
    const { status, body } = await send('GET', 'auth/token/lookup-self', token)
    if (status !== 200) throw refusal(status, 'Vault refuses the token')
    const { ttl, renewable } = member(body, 'data')
    renewIn(renewable === true && typeof ttl === 'number' ? ttl : 0)
    return { token, since }
  }

  const current = (): Promise<Session> => {
    if (!session) {
      const fresh = logIn()
      session = fresh
      fresh.catch(() => {
        if (session === fresh) session = undefined
      })
    }
    return session
  }

  return {
    request: async (method, path, body) => {
      const used = session
      const before = await current()
      let answer = await send(method, path, before.token, body)
      if (answer.status === 403 && used && clock.monotonic() - before.since >= YOUNG_TOKEN_MS) {
        // Others may have found out at the same time: one login is enough.
        if (session === used) session = undefined
        answer = await send(method, path, (await current()).token, body)
      }
      if (answer.status === 403 || answer.status >= 500 || answer.status === 429)
        throw refusal(answer.status, answer.status === 403 ? 'Vault refuses access' : 'Vault cannot answer')
      return answer
    },
    close: () => {
      closed = true
      stopTimer?.()
    },
  }
}

const refusal = (status: number, what: string): VaultFailure =>
  new VaultFailure(`${what} (HTTP ${status})`, status >= 500 || status === 429)

function parsed(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined
  try {
    return JSON.parse(bytes.toString())
  } catch {
    // The message of JSON.parse quotes the text, which holds secrets.
    throw new VaultFailure('Vault answered something that is not JSON', true)
  }
}

/** An object member of an answer; empty when it is missing or something else. */
export function member(body: unknown, name: string): Readonly<Record<string, unknown>> {
  const found: unknown = (body as Record<string, unknown> | null | undefined)?.[name]
  return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {}
}

function authOf(body: unknown): { readonly token: Secret | undefined; readonly lease: number } {
  const { client_token: token, lease_duration: lease } = member(body, 'auth')
  return {
    token: typeof token === 'string' && token !== '' ? new Secret(token) : undefined,
    lease: typeof lease === 'number' ? lease : 0,
  }
}
