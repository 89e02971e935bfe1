/**
 * Bad input on every route of every plane: each request is good but for one fault, and the answer must be a problem
 * of the catalogue that names the field and tells nothing of the inside. At the end the database is what it was.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { newId } from '../server/src/platform/ids.ts'
import { badForms, goodForm } from './bad-input/forms.ts'
import { type BadInputHub, BODY_LIMIT, SERVERS, type ServerName, startHub } from './bad-input/hub.ts'
import { type Matrix, openMatrix, type Route, shown } from './bad-input/matrix.ts'
import { meaningless } from './bad-input/meanings.ts'
import { type BadRequest, unknownHeaders, wireOf } from './bad-input/parameters.ts'
import { placesOf, uncoveredFields } from './bad-input/schemas.ts'
import { type Snapshot, snapshotOf } from './bad-input/snapshot.ts'
import { marksOf, type Pair, pathPairs, referencePairs } from './bad-input/strangers.ts'
import { badTokens, tokenWithout } from './bad-input/tokens.ts'
import { badEvents, badlySigned } from './bad-input/webhooks.ts'
import type { Answer, Wire } from './bad-input/wire.ts'
import { json, makeWorld, type World } from './bad-input/world.ts'

let hub: BadInputHub
let matrix: Matrix
/** Spoilt requests go to the first, good ones to the second; the third is a stranger to both. */
let world: World
let pleasant: World
let stranger: World
let before: Snapshot

const PLANES = ['control', 'exec'] as const
const PINNED = {
  'x-request-id': 'pinned-request',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
}

/** What the caller gets, without what differs between any two answers. */
const seen = ({ status, headers, text }: Answer): unknown => {
  const { date: _date, traceparent: _span, ...rest } = headers
  return { status, headers: rest, text }
}

/** The same, without the name that the caller said and the answer repeats. */
const saying = (answer: Answer, said: string): string => {
  const text = JSON.stringify(seen(answer)).replace(/"content-length":"\d+",?/, '')
  return /^\d+$/.test(said) ? text : text.replaceAll(said, '<said>')
}

const pinned = (wire: Wire): Wire => ({ ...wire, headers: { ...wire.headers, ...PINNED } })

beforeAll(async () => {
  hub = await startHub()
  world = await makeWorld(hub, 'first', 2)
  pleasant = await makeWorld(hub, 'second', 2)
  stranger = await makeWorld(hub, 'third', 5)
  matrix = await openMatrix(hub, world)
})

afterAll(() => hub?.end())

/** Served on every plane and in no OpenAPI document: the document itself, its page, the kinds of problems. */
const HIDDEN = /^(GET|HEAD) \/(openapi\.json|docs(\/.*)?|problems\/:code)$/

describe('the matrix covers everything', () => {
  test.each(SERVERS)('every route of %s is in its OpenAPI document, and so in the matrix', (server) => {
    const documented = matrix
      .routesOf(server)
      .map(({ method, template }) => `${method} ${template.replaceAll(/\{(\w+)\}/g, ':$1')}`)
    expect(documented.length).toBeGreaterThan(4)
    for (const route of documented) expect(hub.routes[server]).toContain(route)
    const known = (route: string): boolean =>
      HIDDEN.test(route) || documented.includes(route.replace(/^HEAD /, 'GET '))
    expect(hub.routes[server].filter((route) => !known(route))).toEqual([])
  })

  test.each(SERVERS)(
    'every field of every body of %s has a value to spoil, every header a list of bad values',
    (server) => {
      const uncovered = matrix.routesOf(server).flatMap((route) => {
        const { open = [] } = matrix.goodRequest(route, world)
        const places = matrix
          .bodiesOf(route, world)
          .flatMap(({ schema, body }) => placesOf(schema, body, open))
        return [...uncoveredFields(places, open), ...unknownHeaders(route.operation)].map(
          (field) => `${route.method} ${route.template} ${field}`,
        )
      })
      expect(uncovered).toEqual([])
    },
  )

  test.each(SERVERS)(
    'the good requests of %s are good: what the matrix spoils is refused for its one fault',
    async (server) => {
      const routes = new Map(matrix.routesOf(server).map((route) => [route.operation.operationId, route]))
      const order = matrix.goodOrder(server, pleasant)
      expect([...order].sort()).toEqual([...routes.keys()].sort())
      const refused: string[] = []
      for (const id of order) {
        const route = routes.get(id) as Route
        const parts = matrix.partsOf(route, pleasant)
        const wire = id === 'issueToken' ? goodForm(pleasant) : wireOf(parts)
        const { status, text } = await hub.send(server, wire)
        if (status < 200 || status > 299) refused.push(`${shown(wire)}: ${status} ${text}`)
      }
      expect(refused).toEqual([])
    },
  )
})

test.each(PLANES)('ids in capitals are the same ids on %s, because UUIDs have no case', async (plane) => {
  const byId = matrix
    .routesOf(plane)
    .filter(({ method, template }) => method === 'GET' && template.endsWith('{id}'))
  expect(byId.length).toBeGreaterThan(0)
  for (const route of byId) {
    const { id = '' } = matrix.goodRequest(route, world).params ?? {}
    const { status } = await hub.send(
      plane,
      wireOf(matrix.partsOf(route, world), { params: { id: id.toUpperCase() } }),
    )
    expect([route.template, status]).toEqual([route.template, 200])
  }
})

test.each(SERVERS)('ids of the caller that could break a log line are not taken by %s', async (server) => {
  for (const bad of ['a b', 'x'.repeat(300), '<script>', 'a;b', 'm\u00fcll', '']) {
    const headers = { 'x-request-id': bad, 'x-correlation-id': bad, traceparent: bad, tracestate: bad }
    const answer = await hub.send(server, { method: 'GET', path: '/health', headers })
    expect(answer.status).toBe(200)
    expect(answer.headers).toMatchObject({
      'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'x-correlation-id': answer.headers['x-request-id'],
      traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/),
    })
  }
})

describe('what is refused', () => {
  beforeAll(async () => {
    // The request log is written behind the answer.
    before = await vi.waitFor(async () => {
      const snapshot = await snapshotOf(hub.database)
      expect(snapshot.request_log).toMatch(/^1 rows/)
      return snapshot
    })
  })

  test.each(SERVERS)(
    'every bad query, path, header and body of %s',
    async (server) => {
      const requests = matrix.routesOf(server).flatMap((route) => matrix.badRequests(route, world))
      expect(requests.length).toBeGreaterThan(20)
      expect(await matrix.faultsOf(server, requests)).toEqual([])
    },
    120_000,
  )

  test.each(PLANES)('what fits the schemas of %s and still means nothing', async (plane) => {
    expect(await matrix.faultsOf(plane, meaningless(plane, world, hub.urls.control))).toEqual([])
  })

  test.each(PLANES)('every bad form at the token endpoint of %s', async (plane) => {
    expect(await matrix.faultsOf(plane, badForms(world, stranger))).toEqual([])
  })

  test('every bad webhook', async () => {
    const signed = badlySigned(world, stranger)
    expect(await matrix.faultsOf('ingress', [...signed, ...badEvents(world, BODY_LIMIT)])).toEqual([])
    const answers = await Promise.all(signed.map(({ wire }) => hub.send('ingress', pinned(wire))))
    expect(new Set(answers.map((answer) => JSON.stringify(seen(answer)))).size).toBe(1)
  })

  test.each(PLANES)('every bad token on every route of %s, with the same bytes', async (plane) => {
    const tokens = await badTokens(hub, plane, world, stranger)
    const routes = matrix.routesOf(plane).filter(({ isPublic }) => !isPublic)
    const requests = routes.flatMap((route) => {
      const { authorization: _good, ...parts } = matrix.partsOf(route, world)
      return tokens.map(({ name, authorization }) => ({
        name,
        codes: ['auth_required'],
        wire: wireOf({ ...parts, authorization }, { headers: PINNED }),
      }))
    })
    // Whoever may not come in does not get a byte of the body read.
    const huge = { ...json('POST', '/jobs', 'Bearer garbage'), body: 'x'.repeat(2 * BODY_LIMIT) }
    const early = { name: 'a huge body', wire: plane === 'exec' ? huge : { ...huge, path: '/configs' } }
    expect(await matrix.faultsOf(plane, [...requests, { ...early, codes: ['auth_required'] }])).toEqual([])
    const answers = await Promise.all(requests.map(({ wire }) => hub.send(plane, wire)))
    expect(new Set(answers.map((answer) => JSON.stringify(seen(answer)))).size).toBe(1)
    expect(answers[0]?.headers['www-authenticate']).toBe('Bearer')
    const heads = requests.filter(({ wire }) => hub.routes[plane].includes(`HEAD ${wire.path}`))
    expect(heads.length).toBeGreaterThan(1)
    for (const { wire } of heads)
      expect((await hub.send(plane, { ...wire, method: 'HEAD' })).status).toBe(401)
  })

  test.each(PLANES)('a token without the scope or role on every route of %s', async (plane) => {
    for (const route of matrix.routesOf(plane).filter(({ isPublic }) => !isPublic)) {
      const authorization =
        route.scope === undefined ? world.tokens[plane] : await tokenWithout(hub, plane, world, route.scope)
      const parts = { ...matrix.partsOf(route, world), authorization }
      // Whoever may not do it does not learn either whether the object is there or what the body should be.
      const wires = [
        wireOf(parts),
        wireOf({ ...parts, good: { ...parts.good, body: {}, query: { x: '1' } } }),
      ]
      const requests = wires.map((wire) => ({
        name: `no ${route.scope ?? 'role'}`,
        wire,
        codes: ['forbidden'],
      }))
      expect(await matrix.faultsOf(plane, requests)).toEqual([])
    }
  })

  test.each(SERVERS)('what is no endpoint of %s', async (server) => {
    const paths = ['/nope', '/', '//', '/JOBS', '/health/../jobs', '/webhooks', '/%2e%2e/jobs', '/jobs%2fx']
    const token = server === 'ingress' ? {} : { authorization: world.tokens[server] }
    const methods = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'PROPFIND']
    // Paths that a PATCH may name: `/identities/end-tokens` could be an identity's, by its form.
    const patched = matrix
      .routesOf(server)
      .filter(({ method }) => method === 'PATCH')
      .map(({ template }) => new RegExp(`^${template.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`))
    const requests = [
      ...paths.flatMap((path) => methods.map((method) => ({ method, path }))),
      ...matrix
        .routesOf(server)
        .filter(({ template }) => !patched.some((form) => form.test(template)))
        .map(({ template }) => ({ method: 'PATCH', path: template.replaceAll(/[{}]/g, '') })),
    ].map(({ method, path }) => ({
      name: 'no endpoint',
      wire: { method, path, headers: token },
      codes: ['route_not_found', 'malformed_request'],
    }))
    const faults = await matrix.faultsOf(server, [...requests, tooLongHeaders(token)])
    expect(faults).toEqual([])
  })

  describe('what belongs to another workspace is not there', () => {
    const differences = async (server: ServerName, pairs: readonly Pair[]): Promise<string[]> => {
      const found: string[] = []
      for (const { name, foreign, missing } of pairs) {
        const [one, other] = [
          await hub.send(server, pinned(foreign.wire)),
          await hub.send(server, pinned(missing.wire)),
        ]
        const [left, right] = [saying(one, foreign.said), saying(other, missing.said)]
        if (left !== right) found.push(`${name}: ${left}\n${right}`)
        // What was not named by the caller must not come back.
        for (const mark of marksOf(stranger))
          if (mark !== foreign.said && one.text.includes(mark)) found.push(`${name} tells ${mark}`)
      }
      return found
    }

    test.each(PLANES)('by the path, on %s', async (plane) => {
      const pairs = matrix
        .routesOf(plane)
        .filter(({ method, scope }) => method !== 'PUT' && scope !== undefined)
        .flatMap((route) =>
          pathPairs(
            `${route.method} ${route.template}`,
            matrix.partsOf(route, world),
            matrix.goodRequest(route, stranger).params ?? {},
          ),
        )
      expect(pairs.length).toBeGreaterThan(plane === 'exec' ? 1 : 10)
      expect(await differences(plane, pairs)).toEqual([])
      const requests = pairs.map(({ name, foreign: { wire } }) => ({ name, wire, codes: ['not_found'] }))
      expect(await matrix.faultsOf(plane, requests)).toEqual([])
    })

    test.each(SERVERS)('by a name in a body or a query, on %s', async (server) => {
      const pairs = referencePairs(world, stranger, hub.urls.control)[server]
      expect(await differences(server, pairs)).toEqual([])
      for (const { name, foreign, missing } of pairs)
        for (const { wire } of [foreign, missing]) {
          const answer = await hub.send(server, wire)
          if (wire.method === 'GET' && answer.status === 200) continue
          expect([name, matrix.check[server](answer)]).toEqual([name, []])
        }
    })

    test.each(PLANES)('in no list and no object of %s', async (plane) => {
      for (const route of matrix.routesOf(plane).filter(({ method }) => method === 'GET')) {
        const { ofTheHub, changes } = matrix.goodRequest(route, world)
        if (ofTheHub || changes) continue
        const { text } = await hub.send(plane, wireOf(matrix.partsOf(route, world), { query: '' }))
        for (const mark of marksOf(stranger))
          expect([route.template, text.includes(mark) && mark]).toEqual([route.template, false])
      }
    })
  })

  test('nothing of it was stored, and nothing of it was a fault of the hub', async () => {
    await hub.stop()
    expect(await snapshotOf(hub.database)).toEqual(before)
    expect(hub.errors).toEqual([])
  })
})

const tooLongHeaders = (token: Readonly<Record<string, string>>): BadRequest => ({
  name: 'headers of 20 kB',
  wire: { method: 'GET', path: `/problems/${newId()}`, headers: { ...token, 'x-long': 'x'.repeat(20_000) } },
  codes: ['headers_too_large'],
})
