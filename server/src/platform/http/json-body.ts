import type { FastifyRequest } from 'fastify'
import { parse } from 'secure-json-parse'
import { Problem } from '../../problems.ts'
import { changesNumbers, exactly } from './exact-numbers.ts'
import type { HttpServer } from './http-server.ts'
import { iJsonFaults } from './i-json.ts'

/**
 * `JSON.parse` takes any depth but `JSON.stringify` and `structuredClone` die at some thousands: a poison
 * payload would be accepted and then crash loggers and workers (measured in the research).
 */
const MAX_JSON_DEPTH = 64

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = new Set([0x5b, 0x7b])
const CLOSE = new Set([0x5d, 0x7d])

/** True when arrays and objects nest deeper than `limit`. One pass over the bytes, before anything is parsed. */
function nestsDeeperThan(bytes: Uint8Array, limit: number): boolean {
  let depth = 0
  let inString = false
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number
    if (inString) {
      if (byte === BACKSLASH) at += 1
      else if (byte === QUOTE) inString = false
    } else if (byte === QUOTE) inString = true
    else if (OPEN.has(byte)) {
      depth += 1
      if (depth > limit) return true
    } else if (CLOSE.has(byte)) depth -= 1
  }
  return false
}

function decode(bytes: Buffer): string {
  if (bytes.length === 0) throw new Problem('malformed_body', 'The body is empty; JSON was expected.')
  if (nestsDeeperThan(bytes, MAX_JSON_DEPTH))
    throw new Problem('malformed_body', `The JSON nests deeper than ${MAX_JSON_DEPTH} levels.`)
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new Problem('malformed_body', 'The body is not valid UTF-8.', { cause })
  }
}

type Reviver = (key: string, value: unknown, context?: { readonly source?: string }) => unknown

function parseText(text: string, reviver?: Reviver): unknown {
  try {
    return parse(text, reviver, { protoAction: 'error', constructorAction: 'error' })
  } catch (cause) {
    // The parser's message quotes the text at fault, which may be a secret: the caller gets a fixed sentence.
    throw new Problem('malformed_body', 'The body is not valid JSON, or uses a forbidden key name.', {
      cause,
    })
  }
}

/**
 * Parses untrusted JSON bytes. Errors: `malformed_body` for broken UTF-8, broken JSON, too deep nesting and
 * keys that would poison a prototype (`__proto__`, `constructor.prototype`).
 */
export const parseJson = (bytes: Buffer): unknown => parseText(decode(bytes))

/**
 * The same, to be printed again: a number that JavaScript would print as another one is an object that
 * `JSON.stringify` prints as it was written. Of members with the same name the last one is there.
 */
export function parseExactJson(bytes: Buffer): unknown {
  const text = decode(bytes)
  return parseText(text, changesNumbers(text) ? exactly : undefined)
}

/** The same for a body whose values the hub keeps: errors also name every field that it could not give back as it was sent. */
function parseKeepableJson(bytes: Buffer): unknown {
  const text = decode(bytes)
  const value = parseText(text)
  const details = iJsonFaults(text, value, '/body')
  const first = details[0]
  if (first) throw new Problem('malformed_body', `${first.path} ${first.message}.`, { details })
  return value
}

/** Refuses encoded bodies: a gzip bomb is never unpacked because nothing is. */
export function refuseEncodedBody(request: FastifyRequest): void {
  const encoding = request.headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw new Problem('unsupported_media_type', 'Bodies with a content-encoding are not accepted.')
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes of a JSON body as they came: what a fingerprint is made of. Empty without a body. */
    rawBody: Buffer
  }
}

const NO_BODY = Buffer.alloc(0)

export function addJsonParser(app: HttpServer): void {
  app.decorateRequest('rawBody')
  app.addHook('onRequest', (request, _reply, done) => {
    request.rawBody = NO_BODY
    done()
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    // Many clients name a type on every call: where no body belongs, an empty one is none.
    if (body.length === 0 && request.routeOptions.schema?.body === undefined) return done(null)
    try {
      request.rawBody = body as Buffer
      done(null, parseKeepableJson(request.rawBody))
    } catch (error) {
      done(error as Error)
    }
  })
}
