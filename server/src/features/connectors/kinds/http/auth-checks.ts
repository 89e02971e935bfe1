import { isHeaderName, isHeaderValue, RESERVED_HEADERS } from '../../../../platform/dial/request-headers.ts'
import type { ProblemDetail } from '../../../../problems.ts'
import { SIGNED_FIELDS } from './auth.ts'
import {
  DEFAULT_SIGNED,
  type HmacSettings,
  type HttpAuth,
  type OauthSettings,
  SECRET_OF,
  SETTING_OF,
} from './auth-settings.ts'
import { CONTENT_HEADERS } from './header-checks.ts'

type Fault = ProblemDetail
const AT = '/settings/auth'

/** Faults of `auth`, together with the secrets that are there. */
export function authFaults(auth: HttpAuth | undefined, secretNames: readonly string[]): Fault[] {
  const type = auth?.type ?? 'none'
  const needed = SECRET_OF[type]
  const unused = [...new Set(Object.values(SECRET_OF))].filter(
    (name) => name !== undefined && name !== needed && secretNames.includes(name),
  )
  const faults: Fault[] = unused.map((name) => ({
    path: `/secrets/${name}`,
    message: `is not used: \`auth\` of type ${type} sends ${needed ?? 'no secret'}`,
  }))
  if (needed !== undefined && !secretNames.includes(needed))
    faults.push({ path: `/secrets/${needed}`, message: 'is missing: `auth` needs it' })
  for (const [owner, setting] of Object.entries(SETTING_OF)) {
    const given = auth?.[setting] !== undefined
    if (owner === type && !given) faults.push({ path: `${AT}/${setting}`, message: 'is missing' })
    if (owner !== type && given)
      faults.push({ path: `${AT}/${setting}`, message: `belongs to the type \`${owner}\` only` })
  }
  if (auth?.header !== undefined) faults.push(...nameFaults(`${AT}/header`, auth.header))
  // RFC 7617 §2: the first colon ends the user name.
  if (auth?.username?.includes(':'))
    faults.push({ path: `${AT}/username`, message: 'must have no colon: it ends the user name' })
  if (auth?.hmac) faults.push(...hmacFaults(auth.hmac))
  if (auth?.oauth2) faults.push(...oauthFaults(auth.oauth2))
  return faults
}

function nameFaults(path: string, header: string): Fault[] {
  const lower = header.toLowerCase()
  const reserved =
    RESERVED_HEADERS.has(lower) || CONTENT_HEADERS.includes(lower) || lower.startsWith('x-orchestrator-')
  return isHeaderName(header) && !reserved ? [] : [{ path, message: 'is not a usable header name' }]
}

function hmacFaults(hmac: HmacSettings): Fault[] {
  const at = `${AT}/hmac`
  const { timestamp_header: time, signature_header: signature, prefix = '' } = hmac
  const faults = [
    ...nameFaults(`${at}/signature_header`, signature),
    ...(time === undefined ? [] : nameFaults(`${at}/timestamp_header`, time)),
  ]
  if (time?.toLowerCase() === signature.toLowerCase())
    faults.push({ path: `${at}/timestamp_header`, message: 'is the header of the signature' })
  if (!isHeaderValue(prefix))
    faults.push({ path: `${at}/prefix`, message: 'has characters that cannot stand in a header' })
  const signed = hmac.signed ?? DEFAULT_SIGNED
  const fields = [...signed.matchAll(/\{\{\s*(.*?)\s*\}\}/gs)].map(([, field = '']) => field)
  for (const field of fields)
    if (!SIGNED_FIELDS.includes(field))
      faults.push({
        path: `${at}/signed`,
        message: `has a field that cannot be signed: ${field}; it can be ${SIGNED_FIELDS.join(', ')}`,
      })
  if (/\{\{|\}\}/.test(signed.replaceAll(/\{\{.*?\}\}/gs, '')))
    faults.push({ path: `${at}/signed`, message: 'has braces that do not belong together' })
  if (fields.includes('timestamp') && time === undefined)
    faults.push({
      path: `${at}/timestamp_header`,
      message: 'is missing: the time is signed, so it has to be sent',
    })
  return faults
}

function oauthFaults({ token_url: tokenUrl }: OauthSettings): Fault[] {
  const path = `${AT}/oauth2/token_url`
  const url = URL.parse(tokenUrl)
  if (!url) return [{ path, message: 'is not a URL' }]
  const faults: Fault[] = []
  if (url.hash !== '' || tokenUrl.includes('#')) faults.push({ path, message: 'must have no fragment' })
  if (url.username !== '' || url.password !== '')
    faults.push({ path, message: 'must have no user name or password: use `client_id`' })
  return faults
}

/** Headers that carry credentials, so that nothing else may set them. */
export const authHeadersOf = (auth: HttpAuth | undefined): string[] =>
  [auth?.header, auth?.hmac?.signature_header, auth?.hmac?.timestamp_header].flatMap((name) =>
    name === undefined ? [] : [name.toLowerCase()],
  )
