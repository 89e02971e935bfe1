import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { Problem } from '../../problems.ts'

const KEY = /^[\x21-\x7e]{1,255}$/
/** The header is a Structured Field string in the IETF draft (RFC 8941 §3.3.3), a bare text everywhere else. */
const QUOTED = /^"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/

/**
 * The `Idempotency-Key` of a request; undefined when there is none. Two headers arrive joined by `, ` and are
 * refused by the space. Errors: `idempotency_key_invalid`.
 */
export function idempotencyKeyOf(request: FastifyRequest): string | undefined {
  const header = request.headers['idempotency-key']
  if (header === undefined) return undefined
  const text = String(header)
  const key = QUOTED.exec(text)?.[1]?.replaceAll(/\\(["\\])/g, '$1') ?? text
  if (!KEY.test(key))
    throw new Problem(
      'idempotency_key_invalid',
      'The Idempotency-Key header is empty, too long or holds other characters.',
      {
        details: [{ path: '/headers/idempotency-key', message: 'must be 1 to 255 visible ASCII characters' }],
      },
    )
  return key
}

/** The query with its parameters in order, so that their order makes no difference; empty without one. */
function sortedQuery(url: string): string {
  const at = url.indexOf('?')
  if (at === -1) return ''
  const query = new URLSearchParams(url.slice(at + 1))
  query.sort()
  return query.size > 0 ? `?${query}` : ''
}

/**
 * What makes two requests the same: method, route, query and the bytes of the body. The bytes and not the parsed
 * value, because parsing drops duplicate keys and rounds large numbers.
 */
export const fingerprintOf = (request: FastifyRequest): Buffer =>
  createHash('sha256')
    .update(`${request.method} ${request.routeOptions.url ?? ''}${sortedQuery(request.url)}\n`)
    .update(request.rawBody)
    .digest()
