/** The routes of the hub as their OpenAPI documents tell them, each with its good request and all bad ones. */
import { type AnswerCheck, answerCheck } from './answers.ts'
import { badBodies } from './bodies.ts'
import type { GoodRequest } from './good-request.ts'
import { type BadInputHub, BODY_LIMIT, SERVERS, type ServerName } from './hub.ts'
import { type BadRequest, badParameters, type Parts, wireOf } from './parameters.ts'
import { goodRequests, type Refinements } from './requests.ts'
import { refined } from './schemas.ts'
import type { Answer, Operation, Schema, Wire } from './wire.ts'
import { json, type World } from './world.ts'

export interface Route {
  readonly server: ServerName
  readonly method: string
  /** As in the OpenAPI document: `/jobs/{id}`. */
  readonly template: string
  readonly operation: Operation
  /** The scope that it asks for; undefined for public routes and for those of the platform role. */
  readonly scope: string | undefined
  readonly isPublic: boolean
}

export interface GoodBody {
  readonly body: unknown
  /** Says something about every part of the body but the open ones. */
  readonly schema: Schema
}

export interface Matrix {
  readonly check: Readonly<Record<ServerName, AnswerCheck>>
  routesOf(server: ServerName): Route[]
  /** operationIds in an order in which the good requests of a server succeed. */
  goodOrder(server: ServerName, world: World): string[]
  goodRequest(route: Route, world: World): GoodRequest
  partsOf(route: Route, world: World): Parts
  bodiesOf(route: Route, world: World): GoodBody[]
  badRequests(route: Route, world: World): BadRequest[]
  /** Sends all, a few at a time, and gives the faults of the answers. */
  faultsOf(server: ServerName, requests: readonly BadRequest[]): Promise<string[]>
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete']
const AT_A_TIME = 8

export const shown = ({ method, path }: Wire): string =>
  `${method} ${path.length > 90 ? `${path.slice(0, 90)}…` : path}`

export async function openMatrix(hub: BadInputHub, example: World): Promise<Matrix> {
  const refinements = await readRefinements(hub, example)
  const check = Object.fromEntries(
    SERVERS.map((server) => [server, answerCheck(hub.documents[server], hub.internals)]),
  ) as Record<ServerName, AnswerCheck>
  const requestsOf = (server: ServerName, world: World) =>
    goodRequests(server, world, refinements, hub.urls.control)

  const goodRequest = ({ server, operation }: Route, world: World): GoodRequest => {
    const good = requestsOf(server, world)[operation.operationId]
    if (!good) throw new Error(`the matrix has no good request for ${server} ${operation.operationId}`)
    return good
  }
  const partsOf = (route: Route, world: World): Parts => {
    const good = goodRequest(route, world)
    const { method, template } = route
    return { method, template, good, authorization: good.authorization ?? authorizationOf(route, world) }
  }
  const bodiesOf = (route: Route, world: World): GoodBody[] => {
    const { body, otherBody, refine = {} } = goodRequest(route, world)
    const published = route.operation.requestBody?.content['application/json']?.schema
    if (published === undefined) return []
    const schema = Object.entries(refine).reduce(
      (all, [pointer, part]) => refined(all, pointer, part),
      published,
    )
    return [body, otherBody].flatMap((one) => (one === undefined ? [] : [{ body: one, schema }]))
  }
  return {
    check,
    routesOf: (server) => routesOf(hub, server),
    goodOrder: (server, world) => Object.keys(requestsOf(server, world)),
    goodRequest,
    partsOf,
    bodiesOf,
    badRequests: (route, world) => {
      const parts = partsOf(route, world)
      const bodies = bodiesOf(route, world).flatMap(({ schema, body }) =>
        badBodies(schema, body, parts.good.open ?? [], BODY_LIMIT).map(({ body: bad, headers, ...rest }) => ({
          ...rest,
          wire: wireOf(parts, { body: bad, noContentType: headers !== undefined, headers: headers ?? {} }),
        })),
      )
      return [...badParameters(parts, route.operation), ...bodies]
    },
    faultsOf: async (server, requests) => {
      const found: string[] = []
      const waiting = [...requests]
      const lane = async (): Promise<void> => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          const { name, wire, codes, at, mayPass } = next
          const answer = await hub.send(server, wire)
          if (mayPass && answer.status < 300) continue
          const own = `${wire.path}\n${JSON.stringify(wire.headers)}\n${wire.body ?? ''}`
          const faults = [
            ...check[server](answer, { codes, at, own }),
            ...undocumented(routesOf(hub, server), wire, answer),
          ]
          if (faults.length > 0) found.push(`${shown(wire)} with ${name}: ${faults.join('; ')}`)
        }
      }
      await Promise.all(Array.from({ length: AT_A_TIME }, lane))
      return found
    },
  }
}

function routesOf(hub: BadInputHub, server: ServerName): Route[] {
  return Object.entries(hub.documents[server].paths).flatMap(([template, operations]) =>
    METHODS.flatMap((method) => {
      const operation = operations[method]
      if (!operation) return []
      const scope = /the scope `([^`]+)`/.exec(operation.description ?? '')?.[1]
      const isPublic = operation.security === undefined
      return [{ server, method: method.toUpperCase(), template, operation, scope, isPublic }]
    }),
  )
}

/** Found before there is a route, or by the server itself: no operation lists them. */
const OF_NO_OPERATION = ['route_not_found', 'headers_too_large']

/** What a route answers although its list of problems has no such code; nothing for a route that lists none. */
function undocumented(routes: readonly Route[], { method, path }: Wire, { status, text }: Answer): string[] {
  const [pathOnly = ''] = path.split('?')
  const fits = ({ template }: Route) =>
    new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(pathOnly)
  const route = routes.find((one) => one.method === method && fits(one))
  const { responses } = route?.operation ?? {}
  if (!responses?.['400']) return []
  const code = /"code":"(\w+)"/.exec(text)?.[1] ?? ''
  if (OF_NO_OPERATION.includes(code)) return []
  return responses[status]?.description?.includes(`\`${code}\``)
    ? []
    : [`${code} is not in its OpenAPI document`]
}

function authorizationOf({ server, scope, isPublic }: Route, world: World): string | undefined {
  if (isPublic || server === 'ingress') return undefined
  return scope === undefined ? world.admin : world.tokens[server]
}

/** The schemas that the OpenAPI document leaves to connector kinds and operations. */
async function readRefinements(hub: BadInputHub, world: World): Promise<Refinements> {
  const read = async <T>(path: string): Promise<T> => {
    const { text } = await hub.send('control', json('GET', path, world.tokens.control))
    return JSON.parse(text) as T
  }
  const kinds = await read<{ data: { kind: string; settings_schema: Schema }[] }>('/connectors/kinds')
  const { operations } = await read<{ operations: { input: Schema }[] }>(
    `/connectors/${world.names.connector}`,
  )
  return {
    settings: Object.fromEntries(kinds.data.map(({ kind, settings_schema }) => [kind, settings_schema])),
    input: operations[0]?.input ?? {},
  }
}
