import type { Dial } from '../../platform/dial/dial.ts'
import type { DialResponse } from '../../platform/dial/dial-request.ts'
import type { Secret } from '../../platform/secret.ts'

/** Shorter values would be found in places where they are no secret. */
const MIN_LENGTH = 8
const MASK = '[secret]'

/**
 * A dial whose answers do not contain the given secrets. Upstreams echo what they were sent (error pages, debug
 * endpoints), and an answer is stored, logged and shown: the one place to take them out is here.
 */
export function scrubbing(dial: Dial, secrets: readonly Secret[]): Dial {
  const needles = secrets
    .flatMap((secret) => spellingsOf(secret.reveal()))
    .sort((a, b) => b.length - a.length)
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
