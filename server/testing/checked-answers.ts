import { isDeepStrictEqual } from 'node:util'
import { Ajv } from 'ajv'
import addFormats from 'ajv-formats'
import type { HttpServer } from '../src/platform/http/server.ts'
import { PROBLEMS } from '../src/problems.ts'

export interface Answer<Body> {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | number | undefined>>
  readonly text: string
  /** Trusted, not checked: the tests say what they expect. */
  readonly body: Body
}

export interface Call {
  readonly body?: unknown
  /** Sent as it is, for bodies that are no JSON values. */
  readonly raw?: string
  readonly headers?: Readonly<Record<string, string>>
}

export type CallServer = <Body = Record<string, unknown>>(
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  url: string,
  authorization: string,
  call?: Call,
) => Promise<Answer<Body>>

const ajv = addFormats.default(new Ajv({ allErrors: true, strict: false }))
const PAYLOAD = Symbol('payload')

/**
 * Calls a server through `inject`, and holds every answer against what its route promises: a status that is
 * declared, a body that fits the published schema, and no field that the serializer has dropped or changed. Call
 * it before routes are added.
 */
export function checkedAnswers(app: HttpServer): CallServer {
  const faults: string[] = []
  app.addHook('preSerialization', async (request, _reply, payload) => {
    Object.assign(request, { [PAYLOAD]: payload })
    return payload
  })
  app.addHook('onSend', async (request, reply, text) => {
    const { method, url, schema } = request.routeOptions
    const where = `${method} ${url} ${reply.statusCode}`
    if (reply.statusCode >= 400) {
      const { code, status } = JSON.parse(String(text)) as { code: string; status: number }
      if (!Object.hasOwn(PROBLEMS, code) || status !== reply.statusCode) faults.push(`${where}: ${text}`)
      return text
    }
    const declared = (schema?.response as Record<number, object> | undefined)?.[reply.statusCode]
    if (!declared) faults.push(`${where}: the status is not declared`)
    else if (reply.statusCode !== 204) {
      const sent: unknown = JSON.parse(String(text))
      // A route that sends a text has written it itself: no serializer could have changed it.
      const payload = (request as { [PAYLOAD]?: unknown })[PAYLOAD]
      const meant: unknown = payload === undefined ? sent : JSON.parse(JSON.stringify(payload))
      if (!isDeepStrictEqual(sent, meant)) faults.push(`${where}: sent ${text}, not ${JSON.stringify(meant)}`)
      if (!ajv.validate(declared, sent)) faults.push(`${where}: ${ajv.errorsText()} in ${text}`)
    }
    return text
  })
  return async (method, url, authorization, { body, raw, headers = {} } = {}) => {
    const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body))
    const answer = await app.inject({
      method,
      url,
      headers: {
        authorization,
        ...(payload !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(payload !== undefined && { payload }),
    })
    if (faults.length > 0) throw new Error(faults.splice(0).join('\n'))
    return {
      status: answer.statusCode,
      headers: answer.headers,
      text: answer.body,
      body: answer.body === '' ? undefined : JSON.parse(answer.body),
    }
  }
}
