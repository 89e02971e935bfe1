import type { Dial } from '../../platform/dial/dial.ts'
import type { DialResponse } from '../../platform/dial/dial-request.ts'
import type { Secret } from '../../platform/secret.ts'

/** Shorter values would be found in places where they are no secret. */
const MIN_LENGTH = 8
/** What stands in the place of a secret. */
export const MASK = '[secret]'

/**
 * A dial whose answers do not contain the given secrets. Upstreams echo what they were sent (error pages, debug
 * endpoints), and an answer is stored, logged and shown: the one place to take them out is here.
 */
export function scrubbing(dial: Dial, secrets: readonly Secret[]): Dial {
  const needles = needlesOf(secrets)
  if (needles.length === 0) return dial
  return {
    ...dial,
    request: async (request) => {
      const response = await dial.request(request)
      return {
        ...response,
        headers: scrubHeaders(response, needles),
        body: scrubBody(response.body, needles),
      }
    },
  }
}

/** Plain JSON without the given secrets, neither in texts nor in names; a net below kinds that mask by themselves. */
export function scrubValue(value: unknown, secrets: readonly Secret[]): unknown {
  const needles = needlesOf(secrets)
  const plain = (text: string): string => {
    const bytes = Buffer.from(text)
    const scrubbed = scrubBody(bytes, needles)
    return scrubbed === bytes ? text : scrubbed.toString()
  }
  const walk = (node: unknown): unknown => {
    if (typeof node === 'string') return plain(node)
    if (Array.isArray(node)) return node.map(walk)
    if (typeof node !== 'object' || node === null) return node
    return Object.fromEntries(Object.entries(node).map(([name, member]) => [plain(name), walk(member)]))
  }
  return needles.length === 0 ? value : walk(value)
}

/** Longest first, so that a secret inside another one does not leave the rest of it. */
const needlesOf = (secrets: readonly Secret[]): string[] =>
  secrets.flatMap((secret) => spellingsOf(secret.reveal())).sort((a, b) => b.length - a.length)

/** The value as it stands, and as JSON and URLs write it. Latin-1, so that bytes are compared and not characters. */
function spellingsOf(value: string): string[] {
  if (value.length < MIN_LENGTH) return []
  const json = JSON.stringify(value).slice(1, -1)
  const spellings = [value, json, json.replaceAll('/', '\\/'), encodeURIComponent(value)]
  return [...new Set(spellings)].map((text) => Buffer.from(text).toString('latin1'))
}

function scrubBody(body: Buffer, needles: readonly string[]): Buffer {
  const text = body.toString('latin1')
  return needles.some((needle) => text.includes(needle)) ? Buffer.from(scrub(text, needles), 'latin1') : body
}

const scrubHeaders = ({ headers }: DialResponse, needles: readonly string[]): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, scrub(value, needles)]))

const scrub = (text: string, needles: readonly string[]): string =>
  needles.reduce((rest, needle) => rest.replaceAll(needle, MASK), text)
