import { definitionOf, isObject } from './schema-rules.ts'

/**
 * Texts of a config that take values from an operation's input: `{{input.customer.id}}`, `{{input}}` for all of
 * it, and `{id}` in paths; in a response mapping from an answer: `{{response.body.id}}`. No logic and no
 * functions: a template is checked against the schema when it is saved, so that a call cannot fail because of
 * a name that was never there.
 */
export interface Template {
  /** Literal texts and the fields between them, in order. */
  readonly parts: readonly (string | Field)[]
}

export interface Field {
  /** Members from the root (input or response) downwards; empty = all of it. */
  readonly path: readonly string[]
}

const MEMBER = '[A-Za-z0-9_$-]+'
const ROOTS = {
  input: new RegExp(`^\\s*input((?:\\.${MEMBER})*)\\s*$`),
  response: new RegExp(`^\\s*response((?:\\.${MEMBER})*)\\s*$`),
}
type Root = keyof typeof ROOTS
const IN_PATH = new RegExp(`^${MEMBER}(?:\\.${MEMBER})*$`)

/** Reads a template with `{{input…}}`, or another root; a string instead of a template says what is wrong. */
export const parseTemplate = (text: string, root: Root = 'input'): Template | string =>
  parse(text, /\{\{(.*?)\}\}/s, /\{\{|\}\}/, (expression) => {
    const members = ROOTS[root].exec(expression)?.[1]
    return members === undefined ? undefined : members.split('.').slice(1)
  })

/** Reads a path template with `{field}`. */
export const parsePathTemplate = (text: string): Template | string =>
  parse(text, /\{(.*?)\}/s, /[{}]/, (expression) =>
    IN_PATH.test(expression) ? expression.split('.') : undefined,
  )

function parse(
  text: string,
  expression: RegExp,
  rest: RegExp,
  pathOf: (expression: string) => readonly string[] | undefined,
): Template | string {
  const parts: (string | Field)[] = []
  for (const [at, piece] of text.split(expression).entries()) {
    if (at % 2 === 0) {
      if (rest.test(piece)) return 'has braces that do not belong together'
      if (piece !== '') parts.push(piece)
      continue
    }
    const path = pathOf(piece)
    if (!path) return `has a field that cannot be read: ${piece.trim()}`
    parts.push({ path })
  }
  return { parts }
}

/** The one field that the template consists of; undefined when there is text around it, or none. */
export function soleField({ parts }: Template): Field | undefined {
  const [only, ...more] = parts
  return typeof only === 'object' && more.length === 0 ? only : undefined
}

export const fieldsOf = ({ parts }: Template): Field[] => parts.filter((part) => typeof part === 'object')

export const nameOf = ({ path }: Field, root: Root = 'input'): string => [root, ...path].join('.')

/** The value of a field in an input; undefined when a member on the way is missing. Lists count from 0. */
export function valueAt({ path }: Field, input: unknown): unknown {
  let value = input
  for (const member of path) {
    if (Array.isArray(value) && /^(0|[1-9]\d{0,5})$/.test(member)) value = value[Number(member)]
    else if (!isObject(value) || !Object.hasOwn(value, member)) return undefined
    else value = value[member]
  }
  return value
}

/** What an input schema says about a field. */
export interface FieldFacts {
  /** Every input that fits the schema has the field. */
  readonly required: boolean
  /** The JSON types that it may have; undefined = the schema does not say. */
  readonly types: ReadonlySet<string> | undefined
}

/** Looks a field up in an input schema; undefined = no input is foreseen to have it. */
export function factsOf({ path }: Field, schema: unknown): FieldFacts | undefined {
  let nodes = variantsOf(schema, schema)
  let required = true
  for (const member of path) {
    const inside = nodes.flatMap((node) => {
      const properties = isObject(node.properties) ? node.properties : {}
      return Object.hasOwn(properties, member) ? variantsOf(properties[member], schema) : []
    })
    if (inside.length === 0) return undefined
    required &&= nodes.some((node) => Array.isArray(node.required) && node.required.includes(member))
    nodes = inside
  }
  const types = nodes.flatMap((node) => (node.type === undefined ? [] : [node.type].flat()))
  return { required, types: types.length > 0 ? new Set(types.map(String)) : undefined }
}

/**
 * A schema with everything that applies at the same place: its `$ref`, and the branches of `allOf`, `anyOf` and
 * `oneOf`. Safe to follow: `schema-rules.ts` refuses references that lead back to themselves.
 */
export function variantsOf(node: unknown, root: unknown): Readonly<Record<string, unknown>>[] {
  if (!isObject(node)) return []
  const branches = ['allOf', 'anyOf', 'oneOf'].flatMap((keyword) => node[keyword] ?? [])
  return [
    node,
    ...variantsOf(definitionOf(root, node.$ref), root),
    ...branches.flatMap((branch) => variantsOf(branch, root)),
  ]
}
