import { Writable } from 'node:stream'
import { Type } from 'typebox'
import { afterEach, expect, test } from 'vitest'
import { Problem } from '../../problems.ts'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import type { DocumentedAnswers } from './documented-answers.ts'
import { createHttpServer, type HttpServer } from './server.ts'

const log = createLog('test', 'silent', new Writable({ write: (_chunk, _encoding, done) => done() }))

let app: HttpServer
afterEach(() => app.close())

/** A server with `POST /things`, which refuses everything and says so in its document. */
async function serverWith(answers: DocumentedAnswers, admit?: (work: string) => void): Promise<void> {
  app = await createHttpServer({
    log,
    metrics: createMetrics('test', false),
    trustedProxies: [],
    bodyLimitBytes: 10_000,
    handlerTimeoutMs: 5_000,
    checks: [],
    access: {
      authenticate: () => Promise.reject(new Problem('auth_required', 'A token is required.')),
      authorization: { knows: () => true, refusal: () => undefined, needs: () => '' },
    },
    ...(admit && { admit }),
    openApi: { title: 'test', description: 'test', version: '1' },
  })
  const response = { 200: Type.Object({ id: Type.String() }, { additionalProperties: false }) }
  app.post(
    '/things',
    { config: { access: 'public', answers }, schema: { body: Type.Object({}), response } },
    async () => {
      throw new Problem('conflict', 'It is there already.', {
        retryAfterSeconds: 3,
        members: { thing_id: 't1', owner: { name: 'ada' } },
      })
    },
  )
  app.get('/plain', { config: { access: 'public' } }, async () => ({}))
  const { problems } = answers
  app.get('/things', { config: { access: { permission: 'read' }, answers: { problems } } }, async () => ({}))
}

interface Response {
  readonly description: string
  readonly headers?: Readonly<Record<string, unknown>>
}

async function responsesOf(path: string, method: string): Promise<Readonly<Record<string, Response>>> {
  const document = (await app.inject('/openapi.json')).json() as {
    paths: Record<string, Record<string, { responses: Record<string, Response> }>>
  }
  return document.paths[path]?.[method]?.responses ?? {}
}

const CONFLICT: DocumentedAnswers = { problems: ['conflict', 'idempotency_in_flight'] }

test('the problems of a route stand under their statuses with their codes, beside those of every route', async () => {
  await serverWith(CONFLICT)
  const responses = await responsesOf('/things', 'post')
  expect(Object.keys(responses)).toEqual(['200', '400', '409', '413', '415', '500', '503', 'default'])
  expect(responses['409']).toEqual({
    description:
      'Conflict\n- `conflict`: The object is in a state that does not allow this.\n- `idempotency_in_flight`: The same call is still running.',
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
  })
  expect(responses['400']?.description).toContain('`malformed_body`')
})

test('a route with a token can be refused for it; one that lists nothing has its default alone', async () => {
  await serverWith(CONFLICT)
  expect(Object.keys(await responsesOf('/things', 'get'))).toEqual(expect.arrayContaining(['401', '403']))
  expect(Object.keys(await responsesOf('/plain', 'get'))).toEqual(['default'])
})

test('only a server that sheds work says so, and only of work that it sheds', async () => {
  await serverWith(CONFLICT, () => undefined)
  expect((await responsesOf('/things', 'get'))['503']?.description).toContain('`overloaded`')
  expect((await responsesOf('/things', 'post'))['503']?.description).not.toContain('`overloaded`')
  await app.close()
  await serverWith(CONFLICT)
  expect((await responsesOf('/things', 'get'))['503']?.description).not.toContain('`overloaded`')
})

test('headers stand at the statuses that have them', async () => {
  const retryAfter = { description: 'Seconds.', statuses: [200, 409], type: 'integer' } as const
  await serverWith({ ...CONFLICT, headers: { 'Retry-After': retryAfter } })
  const responses = await responsesOf('/things', 'post')
  const documented = { 'Retry-After': { description: 'Seconds.', schema: { type: 'integer' } } }
  expect(responses['200']?.headers).toEqual(documented)
  expect(responses['409']?.headers).toEqual(documented)
  expect(responses['400']).not.toHaveProperty('headers')
})

test('a header of an answer that nobody gives is a mistake', async () => {
  await serverWith({ ...CONFLICT, headers: { Link: { description: 'x', statuses: [418] } } })
  await app.ready()
  expect(() => app.swagger()).toThrow('Link is documented for 418')
})

test('a documented problem reaches the caller whole', async () => {
  await serverWith(CONFLICT)
  const answer = await app.inject({ method: 'POST', url: '/things', payload: {} })
  expect(answer.statusCode).toBe(409)
  expect(answer.headers['retry-after']).toBe('3')
  expect(answer.json()).toMatchObject({ code: 'conflict', thing_id: 't1', owner: { name: 'ada' } })
})
