/**
 * Random bad input on every route: what is not taken is a problem document below 500, and what is taken fits the
 * published schema. fast-check prints the smallest failing case; the seed stands in the names of the tests.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stripe } from '../server/testing/webhook-samples/stripe.ts'
import { anyBytes, anyQueryValue, nearlyGood } from './bad-input/fuzz.ts'
import { type BadInputHub, SERVERS, startHub } from './bad-input/hub.ts'
import { type Matrix, openMatrix, type Route } from './bad-input/matrix.ts'
import { wireOf } from './bad-input/parameters.ts'
import { oracle } from './bad-input/schemas.ts'
import type { Wire } from './bad-input/wire.ts'
import { makeWorld, signedEvent, type World } from './bad-input/world.ts'

const SEED = Date.now() % 2 ** 31
const RUNS = { seed: SEED, numRuns: 40, endOnFailure: false }

let hub: BadInputHub
let world: World
let matrix: Matrix

beforeAll(async () => {
  hub = await startHub()
  world = await makeWorld(hub, 'fuzzed', 2)
  matrix = await openMatrix(hub, world)
})

afterAll(() => hub?.end())

/** What an execution may come to although nothing is wrong with its request, e.g. in a millisecond. */
const OF_THE_UPSTREAM = /"code":"upstream_(error|rejected|timeout)"/

/** True when the request was taken; a refusal must be a problem document. */
async function taken({ server, operation }: Route, wire: Wire): Promise<boolean> {
  const answer = await hub.send(server, wire)
  if (answer.status < 300) return true
  if (operation.operationId === 'execute' && OF_THE_UPSTREAM.test(answer.text)) return true
  const own = `${wire.path}\n${JSON.stringify(wire.headers)}\n${wire.body ?? ''}`
  expect(matrix.check[server](answer, { own })).toEqual([])
  return false
}

describe.each(SERVERS)(`%s, seed ${SEED}`, (server) => {
  test('bodies near the good ones', async () => {
    for (const route of matrix.routesOf(server))
      for (const good of matrix.bodiesOf(route, world)) {
        const parts = matrix.partsOf(route, world)
        const fits = oracle(good.schema)
        const property = fc.asyncProperty(nearlyGood(good), async (body) => {
          if (await taken(route, wireOf(parts, { body }))) expect([body, fits(body)]).toEqual([body, true])
        })
        await fc.assert(property, RUNS)
      }
  })

  test('bodies that are anything', async () => {
    for (const route of matrix.routesOf(server).filter(({ method }) => method !== 'GET')) {
      const parts = matrix.partsOf(route, world)
      const property = fc.asyncProperty(anyBytes, async (body) => {
        await taken(route, wireOf(parts, { body }))
      })
      // A DELETE takes its reason from the query and would succeed with the body `1`.
      if (route.method !== 'DELETE') await fc.assert(property, { ...RUNS, numRuns: 15 })
    }
  })

  test('queries and paths that are anything', async () => {
    for (const route of matrix.routesOf(server).filter(({ method }) => method === 'GET')) {
      const parts = matrix.partsOf(route, world)
      for (const { name, in: place } of route.operation.parameters ?? []) {
        const property = fc.asyncProperty(anyQueryValue, async (value) => {
          await taken(
            route,
            wireOf(parts, place === 'path' ? { params: { [name]: value } } : { query: `${name}=${value}` }),
          )
        })
        if (place !== 'header') await fc.assert(property, { ...RUNS, numRuns: 25 })
      }
    }
  })
})

test(`signed webhooks, seed ${SEED}`, async () => {
  const [route] = matrix.routesOf('ingress').filter(({ method }) => method === 'POST')
  const event: unknown = JSON.parse(stripe.body({ id: 'evt_fuzz' }).toString('utf8'))
  const arbitrary = nearlyGood({ body: event, schema: {} })
  const property = fc.asyncProperty(arbitrary, async (text) => {
    const { bytes, headers } = signedEvent(Buffer.from(text), world.stripeSecret)
    await taken(route as Route, { method: 'POST', path: '/webhooks/stripe', headers, body: bytes })
  })
  await fc.assert(property, { ...RUNS, numRuns: 150 })
})

test('none of it was a fault of the hub', async () => {
  await hub.stop()
  expect(hub.errors).toEqual([])
})
