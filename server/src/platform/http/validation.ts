import { Ajv, type ErrorObject } from 'ajv'
import addFormats from 'ajv-formats'
import type { FastifySchemaValidationError } from 'fastify'
import { Problem, type ProblemDetail } from '../../problems.ts'
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

const pointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** Where the fault is (JSON pointer, RFC 6901), including the name of a missing or unknown field. */
function faultPath(error: ErrorObject | FastifySchemaValidationError): string {
  const { missingProperty, additionalProperty } = error.params as Record<string, string | undefined>
  const last = missingProperty ?? additionalProperty
  return error.instancePath + (last === undefined ? '' : `/${pointer(last)}`)
}

function faultMessage(error: ErrorObject | FastifySchemaValidationError): string {
  switch (error.keyword) {
    case 'required':
      return 'is missing'
    case 'additionalProperties':
      return 'is not a known field'
    case 'enum':
      return `must be one of: ${(error.params as { allowedValues: unknown[] }).allowedValues.join(', ')}`
    case 'const':
      return `must be ${JSON.stringify((error.params as { allowedValue: unknown }).allowedValue)}`
    default:
      return error.message ?? 'is not valid'
  }
}

/** Faults of one schema as problem details; `prefix` says where the checked value stands, e.g. `/body/input`. */
export function faultsOf(
  errors: readonly (ErrorObject | FastifySchemaValidationError)[] | null | undefined,
  prefix: string,
): ProblemDetail[] {
  const seen = new Set<string>()
  const details: ProblemDetail[] = []
  for (const error of errors ?? []) {
    // `anyOf` repeats what its branches already said.
    if (error.keyword === 'anyOf' && (errors?.length ?? 0) > 1) continue
    const detail = { path: `${prefix}${faultPath(error)}`, message: faultMessage(error) }
    const key = `${detail.path} ${detail.message}`
    if (!seen.has(key)) details.push(detail)
    seen.add(key)
    if (details.length === MAX_DETAILS) break
  }
  return details
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

export function addValidation(app: HttpServer): void {
  app.setValidatorCompiler(({ schema, httpPart }) =>
    (httpPart === 'body' ? body : text).compile(schema as object),
  )
}
