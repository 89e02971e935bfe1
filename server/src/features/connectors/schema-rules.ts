import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'

/**
 * What a JSON Schema from a config must keep to before it is compiled. A schema is code that runs in every
 * process for its workspace: these rules bound what one workspace can cost the others.
 */
const MAX_BYTES = 64 * 1024
const MAX_DEPTH = 32
/** Schemas that checking one value may visit, with every `$ref` written out. */
const MAX_EXPANDED = 10_000

const ONE = ['additionalProperties', 'items', 'contains', 'not', 'if', 'then', 'else', 'propertyNames']
const UNEVALUATED = ['unevaluatedItems', 'unevaluatedProperties']
const LISTS = ['allOf', 'anyOf', 'oneOf', 'prefixItems']
const MAPS = ['properties', 'patternProperties', 'dependentSchemas']
const DEFINITIONS = ['$defs', 'definitions']
/** They give a schema a name beyond itself, or change what keywords mean. */
const REFUSED = ['$id', '$anchor', '$dynamicRef', '$dynamicAnchor', '$recursiveRef', '$vocabulary', '$async']
const DIALECT = 'https://json-schema.org/draft/2020-12/schema'
const LOCAL_REF = /^#\/(\$defs|definitions)\/([A-Za-z0-9._-]+)$/

type Node = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The schemas directly inside a schema, with their paths. */
function childrenOf(node: Node, path: string, maps: readonly string[]): [string, unknown][] {
  const children: [string, unknown][] = []
  for (const keyword of [...ONE, ...UNEVALUATED])
    if (keyword in node) children.push([`${path}/${keyword}`, node[keyword]])
  for (const keyword of LISTS) {
    const list = node[keyword]
    if (Array.isArray(list))
      for (const [at, schema] of list.entries()) children.push([`${path}/${keyword}/${at}`, schema])
  }
  for (const keyword of maps) {
    const map = node[keyword]
    if (!isObject(map)) continue
    for (const [name, schema] of Object.entries(map))
      children.push([`${path}/${keyword}/${pointerPart(name)}`, schema])
  }
  return children
}

/** The definition of the root that a `$ref` points to; undefined when it points elsewhere. */
export function definitionOf(root: unknown, ref: unknown): unknown {
  const [, keyword, name] = (typeof ref === 'string' && LOCAL_REF.exec(ref)) || []
  if (keyword === undefined || name === undefined || !isObject(root)) return undefined
  const definitions = root[keyword]
  return isObject(definitions) && Object.hasOwn(definitions, name) ? definitions[name] : undefined
}

/** Breaches of the rules, with paths relative to the schema; what ajv itself refuses is not looked for here. */
export function ruleFaults(schema: unknown): ProblemDetail[] {
  if (!isObject(schema)) return [{ path: '', message: 'must be a JSON Schema object' }]
  if (nestsDeeper(schema, MAX_DEPTH)) return [{ path: '', message: `nests deeper than ${MAX_DEPTH} levels` }]
  const bytes = Buffer.byteLength(JSON.stringify(schema))
  if (bytes > MAX_BYTES)
    return [{ path: '', message: `has ${bytes} bytes, at most ${MAX_BYTES} are allowed` }]
  const faults: ProblemDetail[] = []
  if (schema.$schema !== undefined && schema.$schema !== DIALECT)
    faults.push({ path: '/$schema', message: `must be ${DIALECT}, or absent` })
  collectFaults(schema, schema, '', faults)
  return faults.length > 0 ? faults : expansionFaults(schema)
}

function collectFaults(root: Node, node: unknown, path: string, faults: ProblemDetail[]): void {
  if (!isObject(node)) return
  for (const keyword of REFUSED)
    if (keyword in node) faults.push({ path: `${path}/${keyword}`, message: 'is not supported' })
  if ('$schema' in node && path !== '')
    faults.push({ path: `${path}/$schema`, message: 'belongs to the root' })
  if ('$ref' in node && definitionOf(root, node.$ref) === undefined)
    faults.push({
      path: `${path}/$ref`,
      message: 'must be #/$defs/<name> of this schema; nothing is fetched',
    })
  for (const [at, child] of childrenOf(node, path, [...MAPS, ...DEFINITIONS]))
    collectFaults(root, child, at, faults)
}

/**
 * Refuses a `$ref` that leads back to itself and schemas that grow without bounds when references are written
 * out: twenty definitions that each refer twice to the next would cost a million checks per value.
 */
function expansionFaults(root: Node): ProblemDetail[] {
  const sizes = new Map<unknown, number>()
  const open = new Set<unknown>()
  const recursive = Symbol('recursive')
  const sizeOf = (node: unknown): number => {
    if (!isObject(node)) return 1
    const known = sizes.get(node)
    if (known !== undefined) return known
    if (open.has(node)) throw recursive
    open.add(node)
    const inside = childrenOf(node, '', MAPS).map(([, child]) => child)
    if ('$ref' in node) inside.push(definitionOf(root, node.$ref))
    const size = inside.reduce<number>((sum, child) => sum + sizeOf(child), 1)
    open.delete(node)
    sizes.set(node, size)
    return size
  }
  try {
    if (sizeOf(root) <= MAX_EXPANDED) return []
    return [{ path: '', message: `has more than ${MAX_EXPANDED} parts when every $ref is written out` }]
  } catch (error) {
    if (error !== recursive) throw error
    return [{ path: '', message: 'has a $ref that leads back to itself, which is not supported' }]
  }
}

function nestsDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((member) => nestsDeeper(member, levels - 1))
}
