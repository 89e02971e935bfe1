import { STATUS_CODES } from 'node:http'
import type { FastifySchema } from 'fastify'
import { PROBLEMS, type ProblemCode } from '../../problems.ts'
import type { Access } from './access.ts'

/** A header of an answer, and the statuses with which it may come. */
export interface DocumentedHeader {
  readonly description: string
  readonly statuses: readonly number[]
  readonly type?: 'string' | 'integer'
}

/** What a route answers beside its schemas. */
export interface DocumentedAnswers {
  /** Those of every route (token, body, stopping process, …) are added. */
  readonly problems: readonly ProblemCode[]
  /** By name. */
  readonly headers?: Readonly<Record<string, DocumentedHeader>>
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * For the OpenAPI document alone. Not in `schema.response`: Fastify would make serializers of it, and those drop
     * the members that only some problems have.
     */
    answers?: DocumentedAnswers
  }
}

type Responses = Record<string, object>

const PROBLEM_REF = { $ref: '#/components/schemas/Problem' }
export const problemAnswer = (description: string): object => ({
  description,
  content: { 'application/problem+json': { schema: PROBLEM_REF } },
})

interface Route {
  readonly access: Access | undefined
  /** Whether the server refuses reading when it has too much to do. */
  readonly mayBeShed: boolean
  readonly schema: FastifySchema | undefined
}

/** What any route of this sort may answer. */
function problemsOfEvery({ access, mayBeShed, schema }: Route): readonly ProblemCode[] {
  const { body, params, querystring, headers } = schema ?? {}
  return [
    'malformed_request',
    ...(access === 'public'
      ? []
      : (['auth_required', 'forbidden', 'workspace_suspended', 'database_unavailable'] as const)),
    ...(body || params || querystring || headers ? (['validation_error'] as const) : []),
    ...(body ? (['malformed_body', 'body_too_large', 'unsupported_media_type'] as const) : []),
    'internal_error',
    'hub_timeout',
    ...(mayBeShed ? (['overloaded'] as const) : []),
    'shutting_down',
  ]
}

const CODES = Object.keys(PROBLEMS) as ProblemCode[]

/** The problems that a route lists, grouped by their status, each with its code; nothing for a route that lists none. */
export function documentedProblems(answers: DocumentedAnswers | undefined, route: Route): Responses {
  if (!answers) return {}
  const listed = new Set([...answers.problems, ...problemsOfEvery(route)])
  const byStatus = Map.groupBy(
    // In the order of the catalogue.
    CODES.filter((code) => listed.has(code)),
    (code) => PROBLEMS[code].status,
  )
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      String(status),
      problemAnswer(
        [STATUS_CODES[status], ...codes.map((code) => `- \`${code}\`: ${PROBLEMS[code].title}.`)].join('\n'),
      ),
    ]),
  )
}

/** The same answers with the headers that a route says they may have. Throws for a header of an answer that is not there. */
export function withHeaders(responses: Responses, headers: DocumentedAnswers['headers'] = {}): Responses {
  const found: Responses = { ...responses }
  for (const [name, { description, statuses, type = 'string' }] of Object.entries(headers))
    for (const status of statuses) {
      const response = found[status] as { readonly headers?: object } | undefined
      if (!response) throw new Error(`the header ${name} is documented for ${status}, which is not`)
      found[status] = { ...response, headers: { ...response.headers, [name]: { type, description } } }
    }
  return found
}
