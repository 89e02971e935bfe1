import { createHash } from 'node:crypto'
import type { ErrorObject, Options } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { RE2JS } from 're2js'
import { faultsOf } from '../../platform/http/validation.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { JsonSchema } from './define-connector.ts'
import { isObject, ruleFaults } from './schema-rules.ts'

/** Faults of a value; `path` says where it stands, e.g. `/body/input`. Empty = it fits. */
export type Validator = (value: unknown, path: string) => ProblemDetail[]

/** Beyond it only the first fault is told: a list of a million wrong items would be a list of a million errors. */
const TELL_ALL_UP_TO = 10_000
const MAX_KNOWN = 10_000

/** Patterns come from configs: RE2 runs them in linear time, so none can hang a process. */
const re2 = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(RE2JS.translateRegExp(pattern))
    // ajv shares one regular expression among patterns of the same text.
    return { test: (text: string) => compiled.test(text), toString: () => pattern }
  },
  { code: 'new RE2' },
)

const OPTIONS: Options = {
  strict: true,
  // Both refuse schemas that mean what they say: alternatives by `required`, tuples of open length.
  strictRequired: false,
  strictTuples: false,
  allowUnionTypes: true,
  // References stay functions: written into each other they could make a small schema a huge program.
  inlineRefs: false,
  logger: false,
  validateSchema: false,
  meta: false,
  code: { regExp: re2 },
}

/** An instance of its own per schema: ajv keeps everything it ever compiled, and configs come and go. */
function newAjv(allErrors: boolean): Ajv2020 {
  const ajv = new Ajv2020({ ...OPTIONS, allErrors })
  // Only formats whose checks run in linear time.
  addFormats.default(ajv, ['date', 'time', 'date-time', 'duration', 'uuid', 'ipv4', 'ipv6', 'json-pointer'])
  addFormats.default(ajv, { mode: 'fast', formats: ['email', 'uri'] })
  ajv.removeKeyword('uniqueItems')
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    error: { message: 'must NOT have duplicate items' },
    validate: (wanted: boolean, items: unknown[]) => !wanted || areUnique(items),
  })
  return ajv
}

/** ajv compares every item with every other one; this looks each up once. */
const areUnique = (items: readonly unknown[]): boolean =>
  new Set(items.map((item) => JSON.stringify(item, sortedMembers))).size === items.length

const sortedMembers = (_name: string, value: unknown): unknown =>
  isObject(value)
    ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)))
    : value

const metaSchema = new Ajv2020({ strict: true, allErrors: true, logger: false, validateFormats: false })
/** Hashes of schemas without faults: saving one connector checks the whole config again. */
const knownGood = new Set<string>()

/** Every fault of a schema, with paths relative to it; empty = `compileSchema` takes it. */
export function schemaFaults(schema: unknown): ProblemDetail[] {
  const broken = ruleFaults(schema)
  if (broken.length > 0) return broken
  const hash = createHash('sha256').update(JSON.stringify(schema)).digest('base64')
  if (knownGood.has(hash)) return []
  if (!metaSchema.validate(DIALECT, schema)) return faultsOf(metaSchema.errors, '')
  try {
    newAjv(false).compile(schema as JsonSchema)
  } catch (error) {
    const message = error instanceof Error ? error.message : 'cannot be compiled'
    return [{ path: '', message: `is no strict JSON Schema: ${message}` }]
  }
  if (knownGood.size >= MAX_KNOWN) knownGood.clear()
  knownGood.add(hash)
  return []
}

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'

/** Makes the check of a schema without faults. Compiles on first use: most operations of a config are not called. */
export function compileSchema(schema: JsonSchema): Validator {
  const first = lazy(() => newAjv(false).compile(schema))
  const all = lazy(() => newAjv(true).compile(schema))
  return (value, path) => {
    const check = first()
    if (check(value)) return []
    if (!hasFewerParts(value, TELL_ALL_UP_TO)) return faultsOf(check.errors, path)
    const checkAll = all()
    checkAll(value)
    return faultsOf(checkAll.errors as ErrorObject[] | null, path)
  }
}

function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function hasFewerParts(value: unknown, limit: number): boolean {
  const waiting = [value]
  for (let seen = 0; waiting.length > 0; seen += 1) {
    if (seen >= limit || waiting.length > limit) return false
    const next = waiting.pop()
    if (typeof next === 'object' && next !== null)
      for (const member of Object.values(next)) waiting.push(member)
  }
  return true
}
