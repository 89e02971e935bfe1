import { isHeaderName, isHeaderValue, RESERVED_HEADERS } from '../../../../platform/dial/request-headers.ts'
import { pointerPart } from '../../../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../../../problems.ts'

/** Set by the hub itself, or credentials, which never stand in a config. */
const HUB_HEADERS = new Set(['authorization', 'cookie', 'traceparent', 'tracestate', 'user-agent'])

/** They say what a body is: neither a credential nor a key can stand in them. */
export const CONTENT_HEADERS = ['accept', 'content-type']

/** Why a header of this name may not be set by a config; `taken` are those that its settings give a meaning. */
export function headerNameFault(path: string, name: string, taken: readonly string[]): ProblemDetail[] {
  const lower = name.toLowerCase()
  if (!isHeaderName(name)) return [{ path, message: 'is not a header name' }]
  const owned = RESERVED_HEADERS.has(lower) || HUB_HEADERS.has(lower) || lower.startsWith('x-orchestrator-')
  return owned || taken.includes(lower)
    ? [{ path, message: 'is set by the hub: it may not be set here' }]
    : []
}

export const headerFaults = (
  path: string,
  headers: Readonly<Record<string, string>> = {},
  taken: readonly string[],
): ProblemDetail[] =>
  Object.entries(headers).flatMap(([name, value]) => [
    ...headerNameFault(`${path}/${pointerPart(name)}`, name, taken),
    ...(isHeaderValue(value)
      ? []
      : [{ path: `${path}/${pointerPart(name)}`, message: 'has characters that cannot stand in a header' }]),
  ])
