/** Reading the JSON Schemas of the OpenAPI documents: which parts a body has, and whether a body fits. */
import { Ajv, type Options } from 'ajv'
import addFormats from 'ajv-formats'
import type { Schema } from './wire.ts'

/** One value of a good body with the schema that it fits. */
export interface Place {
  /** JSON pointer into the body; '' is the body itself. */
  readonly pointer: string
  /** The same with `*` for the names that the schema leaves to the caller and for the numbers of items. */
  readonly field: string
  readonly schema: Schema
  readonly value: unknown
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const pointerPart = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** The schema of a member or item; undefined = the schema says nothing about it. */
function memberSchema(schema: Schema, key: string): Schema | undefined {
  const { properties, additionalProperties, patternProperties, items } = schema
  if (isObject(properties) && Object.hasOwn(properties, key)) return properties[key] as Schema
  if (isObject(patternProperties))
    for (const [pattern, member] of Object.entries(patternProperties))
      if (new RegExp(pattern).test(key)) return member as Schema
  if (isObject(additionalProperties)) return additionalProperties
  return isObject(items) ? items : undefined
}

const isNamed = ({ properties }: Schema, key: string): boolean =>
  isObject(properties) && Object.hasOwn(properties, key)

/** Of alternatives the one that a value fits. */
function branchFor(schema: Schema, value: unknown): Schema {
  const branches = Array.isArray(schema.anyOf) ? (schema.anyOf as Schema[]) : []
  return branches.find((branch) => freshAjv().validate(branch, value)) ?? schema
}

/** Every part of a good body, outermost first; nothing below the `open` pointers. */
export function placesOf(
  published: Schema,
  value: unknown,
  open: readonly string[],
  at = { pointer: '', field: '' },
): Place[] {
  if (open.includes(at.pointer)) return []
  const schema = branchFor(published, value)
  const members = Array.isArray(value)
    ? value.map((item, index) => [String(index), item] as const)
    : isObject(value)
      ? Object.entries(value)
      : []
  return [
    { ...at, schema, value },
    ...members.flatMap(([key, member]) =>
      placesOf(memberSchema(schema, key) ?? {}, member, open, {
        pointer: `${at.pointer}/${pointerPart(key)}`,
        field: `${at.field}/${isNamed(schema, key) ? pointerPart(key) : '*'}`,
      }),
    ),
  ]
}

/** Fields that the schema knows and no place has: the matrix would not spoil them. */
export function uncoveredFields(places: readonly Place[], open: readonly string[]): string[] {
  const covered = new Set(places.map(({ field }) => field))
  return places.flatMap(({ pointer, field, schema }) =>
    Object.keys(isObject(schema.properties) ? schema.properties : {})
      .filter((name) => !covered.has(`${field}/${pointerPart(name)}`))
      .map((name) => `${pointer}/${pointerPart(name)}`)
      .filter((missing) => !open.includes(missing)),
  )
}

const partsOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))

/** The schema with the schema of one of its parts set in. */
export function refined(schema: Schema, pointer: string, replacement: Schema): Schema {
  const [key, ...rest] = partsOf(pointer)
  if (key === undefined) return replacement
  const below = rest.map((part) => `/${pointerPart(part)}`).join('')
  const member = refined(memberSchema(schema, key) ?? {}, below, replacement)
  if (isObject(schema.items) && /^\d+$/.test(key)) return { ...schema, items: member }
  const { properties } = schema
  return { ...schema, properties: { ...(isObject(properties) && properties), [key]: member } }
}

const RAW = '@@raw@@'

/** The body as JSON text with `text` in place of the value at `pointer`. */
export function withText(body: unknown, pointer: string, text: string): string {
  const place = (value: unknown, parts: readonly string[]): unknown => {
    const [key, ...rest] = parts
    if (key === undefined) return RAW
    if (Array.isArray(value)) return value.map((item, at) => (String(at) === key ? place(item, rest) : item))
    const members = isObject(value) ? value : {}
    return { ...members, [key]: place(members[key], rest) }
  }
  return JSON.stringify(place(body, partsOf(pointer))).replace(JSON.stringify(RAW), () => text)
}

/** The body without the member at `pointer`, as JSON text. */
export function without(body: unknown, pointer: string): string {
  const place = (value: unknown, parts: readonly string[]): unknown => {
    const [key = '', ...rest] = parts
    if (Array.isArray(value))
      return rest.length === 0
        ? value.filter((_item, at) => String(at) !== key)
        : value.map((item, at) => (String(at) === key ? place(item, rest) : item))
    if (!isObject(value)) return value
    if (rest.length > 0) return { ...value, [key]: place(value[key], rest) }
    const { [key]: _removed, ...others } = value
    return others
  }
  return JSON.stringify(place(body, partsOf(pointer)))
}

/** As the database reads them: ajv-formats would also take `urn:uuid:…`. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** A validator that is not the server's. */
export function freshAjv(options: Options = {}): Ajv {
  const ajv = new Ajv({ strict: false, ...options })
  return addFormats.default(ajv).addFormat('uuid', UUID)
}

/** Whether a JSON text fits a schema. */
export function oracle(schema: Schema): (text: string) => boolean {
  const check = freshAjv().compile(schema)
  return (text) => check(JSON.parse(text))
}
