import { Ajv2020 } from 'ajv/dist/2020.js'
import { beforeAll, describe, expect, test } from 'vitest'
import { openApiDocuments } from './open-api.ts'

type Json = Readonly<Record<string, unknown>>

interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly parameters?: readonly {
    name: string
    in: string
    required?: boolean
    description?: string
    schema?: Json
  }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Json }>> }
  readonly responses: Readonly<
    Record<
      string,
      { description?: string; headers?: Json; content?: Readonly<Record<string, { schema: Json }>> }
    >
  >
}

interface Document {
  readonly openapi: string
  readonly info: Json
  readonly tags?: readonly { readonly name: string; readonly description?: string }[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Json>> }
}

const PLANES = ['exec', 'control', 'ingress'] as const
let documents: Readonly<Record<(typeof PLANES)[number], Document>>

beforeAll(async () => {
  documents = (await openApiDocuments()) as typeof documents
})

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function operationsOf({ paths }: Document): { title: string; path: string; operation: Operation }[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ title: `${method} ${path}`, path, operation })),
  )
}

/** Every object anywhere in a JSON value. */
function* objectsIn(value: unknown): Generator<Json> {
  if (isObject(value)) yield value
  if (typeof value === 'object' && value !== null)
    for (const member of Object.values(value)) yield* objectsIn(member)
}

function resolve(document: Document, ref: string): unknown {
  const parts = ref.split('/').slice(1)
  return ref.startsWith('#/')
    ? parts.reduce<unknown>((at, part) => (isObject(at) ? at[part] : undefined), document)
    : undefined
}

/** The fields of a schema at every depth, each with its path and its own schema. */
function fieldsOf(schema: unknown, at: string): { at: string; field: Json }[] {
  if (!isObject(schema)) return []
  const found: { at: string; field: Json }[] = []
  for (const [name, field] of Object.entries((schema.properties ?? {}) as Record<string, Json>))
    found.push({ at: `${at}/${name}`, field }, ...fieldsOf(field, `${at}/${name}`))
  for (const keyword of ['anyOf', 'oneOf', 'allOf'])
    for (const branch of (schema[keyword] ?? []) as unknown[]) found.push(...fieldsOf(branch, at))
  return [...found, ...fieldsOf(schema.items, `${at}/0`), ...fieldsOf(schema.additionalProperties, `${at}/*`)]
}

const schemasOf = ({ requestBody, responses }: Operation): [where: string, schema: Json][] => [
  ...Object.values(requestBody?.content ?? {}).map(({ schema }): [string, Json] => ['body', schema]),
  ...Object.entries(responses).flatMap(([status, { content = {} }]) =>
    Object.values(content).map(({ schema }): [string, Json] => [status, schema]),
  ),
]

describe.each(PLANES)('the OpenAPI document of %s', (plane) => {
  test('says what it is', () => {
    const { openapi, info } = documents[plane]
    expect(openapi).toMatch(/^3\.1\.\d+$/)
    expect(info).toEqual({
      title: expect.stringMatching(/^Orchestrator/),
      description: expect.stringMatching(/\.$/),
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    })
  })

  test('has no reference that leads nowhere', () => {
    const document = documents[plane]
    const refs = [...objectsIn(document)].flatMap(({ $ref }) => (typeof $ref === 'string' ? [$ref] : []))
    expect(refs.length).toBeGreaterThan(0)
    expect(refs.filter((ref) => resolve(document, ref) === undefined)).toEqual([])
  })

  test('names every operation once, sums it up and puts it into a group that it declares', () => {
    const document = documents[plane]
    const operations = operationsOf(document)
    const ids = operations.map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const groups = new Set((document.tags ?? []).map(({ name }) => name))
    const faults = operations.flatMap(({ title, operation: { operationId, summary, tags = [] } }) => [
      ...(/^[a-z][A-Za-z]+$/.test(operationId ?? '') ? [] : [`${title} is called ${operationId}`]),
      ...(summary ? [] : [`${title} has no summary`]),
      ...(tags.length === 1 && groups.has(tags[0] ?? '') ? [] : [`${title} is in ${tags}`]),
    ])
    expect(faults).toEqual([])
  })

  test('describes every parameter, and every part of a path is one', () => {
    const faults = operationsOf(documents[plane]).flatMap(({ title, path, operation }) => {
      const { parameters = [] } = operation
      const names = parameters.map((one) => `${one.in} ${one.name}`)
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => `path ${name}`)
      const inPath = parameters.filter((one) => one.in === 'path')
      return [
        ...parameters
          .filter(({ description, schema }) => !description || !schema)
          .map(({ name }) => `${title} ${name}`),
        ...(new Set(names).size === names.length ? [] : [`${title} has a parameter twice`]),
        ...(inPath.every(({ required }) => required) ? [] : [`${title} has a path that may be missing`]),
        ...(inPath.length === wanted.length && wanted.every((one) => names.includes(one))
          ? []
          : [`${title} ${names}`]),
      ]
    })
    expect(faults).toEqual([])
  })

  test('describes every answer: one that is good, and the problem document', () => {
    const faults = operationsOf(documents[plane]).flatMap(({ title, operation: { responses } }) => [
      ...(Object.keys(responses).some((status) => /^2\d\d$/.test(status)) ? [] : [`${title} has no 2xx`]),
      ...(responses.default?.content?.['application/problem+json'] ? [] : [`${title} has no problem`]),
      ...Object.entries(responses)
        .filter(([, { description = '' }]) => description === '' || description === 'Default Response')
        .map(([status]) => `${title} ${status}`),
    ])
    expect(faults).toEqual([])
  })

  test('describes every field of every body and answer', () => {
    const { components } = documents[plane]
    const fields = [
      ...Object.entries(components.schemas).flatMap(([name, schema]) => fieldsOf(schema, name)),
      ...operationsOf(documents[plane]).flatMap(({ title, operation }) =>
        schemasOf(operation).flatMap(([where, schema]) => fieldsOf(schema, `${title} ${where}`)),
      ),
    ]
    expect(fields.length).toBeGreaterThan(5)
    expect(fields.filter(({ field }) => !field.description).map(({ at }) => at)).toEqual([])
  })

  test('has schemas that JSON Schema 2020-12 takes', () => {
    const document = documents[plane]
    const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, validateFormats: false })
    // The document's own reference into its components.
    for (const [name, schema] of Object.entries(document.components.schemas))
      ajv.addSchema(schema, `#/components/schemas/${name}`)
    const schemas = operationsOf(document).flatMap(({ operation }) => [
      ...schemasOf(operation).map(([, schema]) => schema),
      ...(operation.parameters ?? []).map(({ schema = {} }) => schema),
    ])
    for (const schema of schemas)
      if (!('$ref' in schema)) expect(() => ajv.compile(schema), JSON.stringify(schema)).not.toThrow()
  })

  test('limits every text, number and list that a request may send', () => {
    const unlimited = ({ type, ...field }: Json): boolean => {
      if (field.enum || field.const !== undefined || field.format) return false
      if (type === 'string')
        return field.maxLength === undefined && !/^\^[^*+]+\$$/.test(String(field.pattern))
      if (type === 'integer' || type === 'number')
        return field.minimum === undefined || field.maximum === undefined
      if (type === 'array')
        return (
          field.maxItems === undefined &&
          !(field.uniqueItems === true && isObject(field.items) && field.items.enum)
        )
      return false
    }
    const faults = operationsOf(documents[plane]).flatMap(
      ({ title, operation: { requestBody, parameters = [] } }) => [
        ...Object.values(requestBody?.content ?? {}).flatMap(({ schema }) =>
          fieldsOf(schema, title).filter(({ field }) => [...objectsIn(field)].some(unlimited)),
        ),
        ...parameters
          // The size of paths and headers is limited by the server.
          .filter(({ in: place, schema = {} }) => place === 'query' && unlimited(schema))
          .map(({ name }) => ({ at: `${title} ${name}` })),
      ],
    )
    expect(faults.map(({ at }) => at)).toEqual([])
  })
})

describe('what callers of exec build on', () => {
  const responsesOf = (path: string) => documents.exec.paths[path]?.post?.responses ?? {}

  test('every route of executions and jobs names its problems by status', () => {
    const paths = ['/execute', '/jobs', '/jobs/batch', '/jobs/{id}', '/jobs/{id}/cancel']
    const routes = operationsOf(documents.exec).filter(({ path }) => paths.includes(path))
    expect(routes).toHaveLength(6)
    for (const { title, operation } of routes)
      expect(Object.keys(operation.responses), title).toEqual(
        expect.arrayContaining(['400', '401', '403', '500', '503', 'default']),
      )
    const statuses = ['400', '401', '403', '404', '409', '422', '429', '500', '502', '503', '504']
    expect(Object.keys(responsesOf('/execute'))).toEqual(expect.arrayContaining(statuses))
  })

  test('an execution says with which headers it answers', () => {
    const headersOf = (status: string) => Object.keys(responsesOf('/execute')[status]?.headers ?? {}).sort()
    const ofAll = ['RateLimit', 'RateLimit-Policy']
    expect(headersOf('200')).toEqual(['Idempotent-Replayed', 'Preference-Applied', ...ofAll])
    expect(headersOf('409')).toEqual(['Preference-Applied', 'Retry-After'])
    expect(headersOf('429')).toEqual([...ofAll, 'Retry-After'])
    expect(headersOf('503')).toEqual([...ofAll, 'Retry-After'])
  })
})
