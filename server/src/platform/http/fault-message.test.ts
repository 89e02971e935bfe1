import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect, test } from 'vitest'
import { faultMessage } from './fault-message.ts'

const messagesOf = (schema: object, value: unknown): string[] => {
  const check = addFormats.default(new Ajv2020({ allErrors: true, allowUnionTypes: true })).compile(schema)
  check(value)
  return (check.errors ?? []).map(faultMessage)
}

test.each([
  [{ type: 'integer', maximum: 4 }, 5, 'must be at most 4'],
  [{ type: 'integer', minimum: 1 }, 0, 'must be at least 1'],
  [{ type: 'number', exclusiveMinimum: 0 }, 0, 'must be more than 0'],
  [{ type: 'number', exclusiveMaximum: 1 }, 1, 'must be less than 1'],
  [{ type: 'integer', multipleOf: 5 }, 6, 'must be a multiple of 5'],
  [{ type: 'array', minItems: 1 }, [], 'must have at least 1 item'],
  [{ type: 'array', maxItems: 2 }, [1, 2, 3], 'must have at most 2 items'],
  [{ type: 'array', uniqueItems: true }, [1, 1], 'must not have the same item twice'],
  [{ type: 'object', minProperties: 1 }, {}, 'must have at least 1 field'],
  [{ type: 'object', maxProperties: 0 }, { a: 1 }, 'must have at most 0 fields'],
  [{ type: 'string', minLength: 1 }, '', 'must not be empty'],
  [{ type: 'string', minLength: 2 }, '', 'must have at least 2 characters'],
  [{ type: 'string', maxLength: 1 }, 'ab', 'must have at most 1 character'],
  [{ type: 'string', format: 'uuid' }, 'x', 'must be a UUID'],
  [{ type: 'string', format: 'ipv4' }, 'x', 'must be an IPv4 address'],
  [{ type: 'string', format: 'hostname' }, '?', 'must be in the format hostname'],
  [{ type: 'string', pattern: '\\S' }, ' ', 'must not be blank'],
  [{ type: 'string', pattern: '^[a-z]+$' }, '1', 'must match ^[a-z]+$'],
  [{ type: 'integer' }, 'x', 'must be an integer'],
  [{ type: ['string', 'null'] }, 1, 'must be a string or null'],
  [{ const: 'a' }, 'b', 'must be "a"'],
  [{ enum: ['a', 'b'] }, 'c', 'must be one of: a, b'],
])('%j says of %j what a person can act on', (schema, value, message) => {
  expect(messagesOf(schema, value)).toEqual([message])
})

test('alternatives that all fail are told as such, after what each of them misses', () => {
  expect(messagesOf({ oneOf: [{ const: 1 }, { const: 2 }] }, 3)).toEqual([
    'must be 1',
    'must be 2',
    'has none of the forms that are allowed here',
  ])
})

test('alternatives that exclude each other', () => {
  expect(messagesOf({ oneOf: [{ minimum: 1 }, { minimum: 2 }] }, 3)).toEqual([
    'has more than one of the forms that exclude each other here',
  ])
})

test('a fault without a known keyword keeps its own words', () => {
  const own = { instancePath: '/n', schemaPath: '', params: {} }
  expect(faultMessage({ ...own, keyword: 'type', message: 'must be a finite number' })).toBe(
    'must be a finite number',
  )
  expect(faultMessage({ ...own, keyword: 'unheard' })).toBe('is not valid')
})
