import { STATUS_CODES } from 'node:http'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { Type } from 'typebox'
import { PROBLEMS } from '../../problems.ts'
import { workOf } from './admission.ts'
import { documentedProblems, problemAnswer, withHeaders } from './documented-answers.ts'
import type { HttpServer } from './http-server.ts'

export interface OpenApiInfo {
  readonly title: string
  readonly description: string
  readonly version: string
  /** Groups of the page in their order. */
  readonly tags?: readonly string[]
}

const ProblemSchema = Type.Object({
  type: Type.String({ description: 'Path of the description of this kind of problem.' }),
  title: Type.String({ description: 'The kind of problem in a few words.' }),
  status: Type.Integer({ description: 'The HTTP status of the answer.' }),
  detail: Type.String({ description: 'What went wrong with this request.' }),
  instance: Type.String({ description: '`urn:request:<request id>`.' }),
  code: Type.Enum(Object.keys(PROBLEMS), { description: 'Stable name of the kind of problem.' }),
  details: Type.Optional(
    Type.Array(
      Type.Object({
        path: Type.String({
          description:
            'JSON pointer (RFC 6901) to the field: below `/body`, `/query`, `/path` or `/headers` of the request, or below `/document` for a config that is not in it.',
        }),
        message: Type.String({ description: 'What is wrong with it.' }),
      }),
      { description: 'Every field at fault.' },
    ),
  ),
  next: Type.String({ description: 'What to do next.' }),
  request_id: Type.String({ description: 'Also in the header `x-request-id` and in the log.' }),
  trace_id: Type.String({ description: 'The trace that the request began or went on with.' }),
  retryable: Type.Boolean({ description: 'True when the same request may succeed later.' }),
})

/** Answers that do not say what they are get the name of their status. */
const described = (responses: unknown): Record<string, object> =>
  Object.fromEntries(
    Object.entries((responses ?? {}) as Record<string, object>).map(([status, schema]) => [
      status,
      { description: STATUS_CODES[status], ...schema },
    ]),
  )

/** Publishes OpenAPI 3.1 at `/openapi.json` and a readable page at `/docs`; both need no token. */
export async function addOpenApi(
  app: HttpServer,
  info: OpenApiInfo,
  { sheds, needsOf }: { readonly sheds: boolean; readonly needsOf: (permission: string) => string },
): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: info.title, description: info.description, version: info.version },
      // The order of the page: what callers come for first, probes last.
      tags: [...(info.tags ?? []), 'operations'].map((name) => ({ name })),
      components: {
        securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
        schemas: { Problem: ProblemSchema as object },
      },
    },
    transform: ({ schema, url, route }) => {
      const { access, answers } = route.config ?? {}
      const mayBeShed =
        sheds && route.config !== undefined && workOf(route.method, route.config) !== undefined
      const responses = {
        ...documentedProblems(answers, { access, mayBeShed, schema }),
        ...described(schema?.response),
        default: problemAnswer('A problem document (RFC 9457); `code` is listed in docs/problems.md'),
      }
      const secured = access !== undefined && access !== 'public'
      const needs = secured ? needsOf(access.permission) : ''
      return {
        url,
        schema: {
          ...schema,
          ...(needs && { description: [schema?.description, needs].filter(Boolean).join('\n\n') }),
          ...(secured && { security: [{ bearer: [] }] }),
          response: withHeaders(responses, answers?.headers),
        },
      }
    },
  })
  app.get(
    '/openapi.json',
    { config: { access: 'public' }, schema: { hide: true } },
    async (_request, reply) => reply.type('application/json').send(JSON.stringify(app.swagger())),
  )
  await app.register(async (scope) => {
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public' }
    })
    await scope.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      // The base layout has no bar of the viewer's maker.
      uiConfig: { docExpansion: 'list', deepLinking: true, layout: 'BaseLayout' },
      theme: { title: info.title },
    })
  })
}
