import { createHmac } from 'node:crypto'
import type { DialRequest } from '../../../../platform/dial/dial-request.ts'
import { isHeaderValue } from '../../../../platform/dial/request-headers.ts'
import { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'
import { MASK } from '../../scrub.ts'
import { DEFAULT_SIGNED, type HmacSettings, type HttpAuth, SECRET_OF } from './auth-settings.ts'

/** A request as it is sent, but for what belongs to one attempt. */
export interface PlainRequest {
  readonly method: DialRequest['method']
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

/** One value that proves who a request is from. */
export interface Credential {
  readonly in: 'header' | 'query'
  readonly name: string
  readonly value: string
  /** The part of the value that nobody may see; absent = all may see it. */
  readonly hidden?: string
}

/** What signing needs to know of a moment: the time in epoch ms, and the secret of the auth's type. */
interface Signing {
  readonly now: number
  readonly secret: Secret
}

/**
 * What proves a request, for every type but `oauth2`, whose token comes from elsewhere. Errors:
 * `secret_unresolved` when the value of the secret cannot stand where it belongs.
 */
export function credentialsOf(
  auth: HttpAuth | undefined,
  request: PlainRequest,
  now: number,
  secrets: Readonly<Record<string, Secret>>,
): readonly Credential[] {
  const type = auth?.type ?? 'none'
  const secret = secrets[SECRET_OF[type] ?? '']
  if (!auth || !secret) return []
  if (type === 'bearer') return [bearer(usable('token', secret))]
  if (type === 'header') {
    const value = usable('token', secret)
    return [{ in: 'header', name: (auth.header ?? '').toLowerCase(), value, hidden: value }]
  }
  if (type === 'query') {
    const value = usable('token', secret)
    return [{ in: 'query', name: auth.parameter ?? '', value, hidden: value }]
  }
  if (type === 'basic') return [basic(auth.username ?? '', usable('password', secret))]
  return auth.hmac ? hmac(auth.hmac, request, { now, secret }) : []
}

export const bearer = (token: string): Credential => ({
  in: 'header',
  name: 'authorization',
  value: `Bearer ${token}`,
  hidden: token,
})

/** RFC 7617, in UTF-8. */
export function basic(username: string, password: string): Credential {
  const encoded = Buffer.from(`${username}:${password}`).toString('base64')
  return { in: 'header', name: 'authorization', value: `Basic ${encoded}`, hidden: encoded }
}

function usable(name: string, secret: Secret): string {
  const value = secret.reveal()
  if (value !== '' && isHeaderValue(value)) return value
  throw new Problem(
    'secret_unresolved',
    `The value of the secret ${name} is empty or has characters that cannot be sent.`,
  )
}

/**
 * An HMAC over a text that the settings describe, with the bytes of the secret as its key, and the time in a
 * header of its own.
 */
function hmac(settings: HmacSettings, request: PlainRequest, { now, secret }: Signing): Credential[] {
  const key = secret.reveal()
  if (key === '') throw new Problem('secret_unresolved', 'The value of the secret signing_key is empty.')
  const url = new URL(request.url)
  const timestamp = timestampOf(settings.timestamp_format ?? 'seconds', now)
  const values: Readonly<Record<string, string>> = {
    timestamp,
    method: request.method,
    path: url.pathname + url.search,
    host: url.host,
    body: request.body ?? '',
  }
  const signed = (settings.signed ?? DEFAULT_SIGNED).replaceAll(
    /\{\{\s*(\w+)\s*\}\}/g,
    (_field, name: string) => values[name] ?? '',
  )
  const signature = createHmac(settings.algorithm ?? 'sha256', key)
    .update(signed)
    .digest(settings.encoding ?? 'hex')
  const name = settings.signature_header.toLowerCase()
  const time = settings.timestamp_header?.toLowerCase()
  return [
    { in: 'header', name, value: `${settings.prefix ?? ''}${signature}`, hidden: signature },
    ...(time === undefined ? [] : [{ in: 'header', name: time, value: timestamp } as const]),
  ]
}

/** What a text to be signed may name. */
export const SIGNED_FIELDS = ['timestamp', 'method', 'path', 'host', 'body']

function timestampOf(format: NonNullable<HmacSettings['timestamp_format']>, now: number): string {
  if (format === 'seconds') return String(Math.floor(now / 1_000))
  return format === 'milliseconds' ? String(now) : new Date(now).toISOString()
}

/** The request with its credentials; `show` makes it one for people, with the hidden parts masked. */
export function withCredentials<R extends PlainRequest>(
  request: R,
  credentials: readonly Credential[],
  show = false,
): R {
  const textFor = ({ value, hidden }: Credential) =>
    show && hidden !== undefined ? value.replace(hidden, () => MASK) : value
  const headers = credentials
    .filter((credential) => credential.in === 'header')
    .map((credential) => [credential.name, textFor(credential)] as const)
  const parameters = credentials
    .filter((credential) => credential.in === 'query')
    .map((credential) => {
      const value = textFor(credential)
      return `${encodeURIComponent(credential.name)}=${show ? value : encodeURIComponent(value)}`
    })
  const separator = request.url.includes('?') ? '&' : '?'
  return {
    ...request,
    url: parameters.length === 0 ? request.url : request.url + separator + parameters.join('&'),
    headers: { ...request.headers, ...Object.fromEntries(headers) },
  }
}

/** What must not come back in an answer, besides the secrets themselves: what was made of them. */
export const hiddenIn = (credentials: readonly Credential[]): Secret[] =>
  credentials.flatMap(({ hidden }) => (hidden === undefined ? [] : [new Secret(hidden)]))
