import { Ajv, type ValidateFunction } from 'ajv'
import addFormats from 'ajv-formats'
import type { FastifySchemaValidationError } from 'fastify'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { pointerPart } from '../json-pointer.ts'
import { faultMessage, type SchemaFault } from './fault-message.ts'
import type { HttpServer } from './http-server.ts'

/** More would only make the answer long: who has fifty faults mends some and asks again. */
const MAX_DETAILS = 50

/** The format of ajv-formats also takes `urn:uuid:…`, which Postgres refuses. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

const formats = (ajv: Ajv): Ajv => addFormats.default(ajv).addFormat('uuid', UUID)

// Bodies are JSON and have types: nothing is coerced, unknown fields are refused, never dropped in silence.
const body = formats(
  new Ajv({
    allErrors: true,
    coerceTypes: false,
    removeAdditional: false,
    useDefaults: true,
    strict: true,
    allowUnionTypes: true,
  }),
)
// Query, path and headers are text: numbers and booleans have to be read out of it.
const text = formats(
  new Ajv({
    allErrors: true,
    coerceTypes: true,
    removeAdditional: false,
    useDefaults: true,
    strict: true,
    allowUnionTypes: true,
  }),
)

const PART_NAMES: Record<string, string> = {
  querystring: 'query',
  params: 'path',
  headers: 'headers',
  body: 'body',
}

/** Where the fault is (JSON pointer, RFC 6901), including the name of a missing or unknown field. */
function faultPath(error: SchemaFault): string {
  const { missingProperty, additionalProperty } = error.params as Record<string, string | undefined>
  const last = missingProperty ?? additionalProperty
  return error.instancePath + (last === undefined ? '' : `/${pointerPart(last)}`)
}

/** Who may write null and writes something else, whose faults are told, is not told to write null. */
const isOtherBranch = (
  { keyword, params, instancePath }: SchemaFault,
  all: readonly SchemaFault[],
): boolean =>
  keyword === 'type' &&
  params.type === 'null' &&
  all.some(
    (other) =>
      other.keyword !== 'type' &&
      other.keyword !== 'anyOf' &&
      (other.instancePath === instancePath || other.instancePath.startsWith(`${instancePath}/`)),
  )

/** Faults of one schema as problem details; `prefix` says where the checked value stands, e.g. `/body/input`. */
export function faultsOf(errors: readonly SchemaFault[] | null | undefined, prefix: string): ProblemDetail[] {
  const seen = new Set<string>()
  const details: ProblemDetail[] = []
  for (const error of errors ?? []) {
    // These repeat what their branches already said.
    if (['anyOf', 'if'].includes(error.keyword) && (errors?.length ?? 0) > 1) continue
    if (isOtherBranch(error, errors ?? [])) continue
    const detail = { path: `${prefix}${faultPath(error)}`, message: faultMessage(error) }
    const key = `${detail.path} ${detail.message}`
    if (!seen.has(key)) details.push(detail)
    seen.add(key)
    if (details.length === MAX_DETAILS) break
  }
  return details
}

/**
 * Faults of a body whose members of `list` (a JSON pointer, e.g. `/jobs`) are at fault, by their index; undefined
 * when something else is at fault, too. For routes with `attachValidation`, which have more to say about the others.
 */
export function faultsOfItems(
  errors: readonly FastifySchemaValidationError[],
  list: string,
): Map<number, ProblemDetail[]> | undefined {
  const byItem = new Map<number, FastifySchemaValidationError[]>()
  for (const error of errors) {
    const index = error.instancePath.startsWith(`${list}/`)
      ? Number.parseInt(error.instancePath.slice(list.length + 1), 10)
      : Number.NaN
    if (Number.isNaN(index)) return undefined
    byItem.set(index, [...(byItem.get(index) ?? []), error])
  }
  return new Map([...byItem].map(([index, own]) => [index, faultsOf(own, '/body')]))
}

/** The problem for a request part that does not fit its schema. */
export function validationProblem(errors: readonly FastifySchemaValidationError[], part: string): Problem {
  const details = faultsOf(errors, `/${PART_NAMES[part] ?? part}`)
  const first = details[0]
  const more = details.length > 1 ? `, and ${details.length - 1} more` : ''
  return new Problem(
    'validation_error',
    first ? `${first.path} ${first.message}${more}.` : 'The request does not fit its schema.',
    { details },
  )
}

interface TextCheck {
  (value: unknown): boolean
  errors?: FastifySchemaValidationError[] | null
}

/** ajv reads `1e400` as Infinity and then holds no limit against it. */
function refusingInfinity(check: ValidateFunction): TextCheck {
  const strict: TextCheck = (value) => {
    if (!check(value)) {
      strict.errors = (check.errors ?? null) as FastifySchemaValidationError[] | null
      return false
    }
    const endless = Object.entries(value as object).filter(
      ([, member]) => member === Infinity || member === -Infinity,
    )
    strict.errors = endless.map(([name]) => ({
      keyword: 'type',
      instancePath: `/${pointerPart(name)}`,
      schemaPath: '',
      params: {},
      message: 'must be a finite number',
    }))
    return endless.length === 0
  }
  return strict
}

const NO_PARAMETERS = { type: 'object', properties: {}, additionalProperties: false } as const

/**
 * Holds every part of a request against its schema. A route with a token takes no query parameter that it does not
 * declare: a filter with a typing error must not be answered as if it were none. Public routes are called by
 * machines that add parameters of their own.
 */
export function addValidation(app: HttpServer): void {
  app.setValidatorCompiler(({ schema, httpPart }) =>
    httpPart === 'body' ? body.compile(schema as object) : refusingInfinity(text.compile(schema as object)),
  )
  app.addHook('onRoute', (route) => {
    const access = route.config?.access
    if (access === undefined || access === 'public' || route.schema?.querystring !== undefined) return
    route.schema = { ...route.schema, querystring: NO_PARAMETERS }
  })
}
