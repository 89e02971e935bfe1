import type { ErrorObject } from 'ajv'
import type { FastifySchemaValidationError } from 'fastify'

export type SchemaFault = ErrorObject | FastifySchemaValidationError

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'an integer',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
}

const FORMATS: Readonly<Record<string, string>> = {
  uuid: 'a UUID',
  'date-time': 'a date and time with its zone, such as 2026-01-31T09:30:00Z',
  date: 'a date, such as 2026-01-31',
  time: 'a time with its zone, such as 09:30:00Z',
  duration: 'a duration, such as PT1H30M',
  email: 'an email address',
  uri: 'a URI',
  ipv4: 'an IPv4 address',
  ipv6: 'an IPv6 address',
  'json-pointer': 'a JSON pointer',
}

/** One keyword's limit, in words; `limit` is a number. */
const LIMITS: Readonly<Record<string, (limit: unknown) => string>> = {
  minimum: (limit) => `must be at least ${limit}`,
  maximum: (limit) => `must be at most ${limit}`,
  exclusiveMinimum: (limit) => `must be more than ${limit}`,
  exclusiveMaximum: (limit) => `must be less than ${limit}`,
  minLength: (limit) =>
    limit === 1 ? 'must not be empty' : `must have at least ${counted(limit, 'character')}`,
  maxLength: (limit) => `must have at most ${counted(limit, 'character')}`,
  minItems: (limit) => `must have at least ${counted(limit, 'item')}`,
  maxItems: (limit) => `must have at most ${counted(limit, 'item')}`,
  minProperties: (limit) => `must have at least ${counted(limit, 'field')}`,
  maxProperties: (limit) => `must have at most ${counted(limit, 'field')}`,
}

const counted = (count: unknown, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** What is wrong with a value, for people: goes on from its path, e.g. `/body/priority` "must be at most 4". */
export function faultMessage({ keyword, params, message }: SchemaFault): string {
  const limit = LIMITS[keyword]
  if (limit && params.limit !== undefined) return limit(params.limit)
  switch (keyword) {
    case 'required':
      return 'is missing'
    case 'additionalProperties':
      return 'is not a known field'
    case 'enum':
      return `must be one of: ${(params.allowedValues as unknown[]).join(', ')}`
    case 'const':
      return `must be ${JSON.stringify(params.allowedValue)}`
    case 'multipleOf':
      return `must be a multiple of ${params.multipleOf}`
    case 'uniqueItems':
      return 'must not have the same item twice'
    case 'pattern':
      return params.pattern === '\\S' ? 'must not be blank' : `must match ${params.pattern}`
    case 'format':
      return `must be ${FORMATS[String(params.format)] ?? `in the format ${params.format}`}`
    case 'anyOf':
    case 'oneOf':
      return params.passingSchemas
        ? 'has more than one of the forms that exclude each other here'
        : 'has none of the forms that are allowed here'
    case 'type':
      // A fault of our own has a message and no types.
      if (params.type === undefined) break
      return `must be ${[params.type]
        .flat()
        .map((type) => TYPES[String(type)] ?? String(type))
        .join(' or ')}`
  }
  return message ?? 'is not valid'
}
