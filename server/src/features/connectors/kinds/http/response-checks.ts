import { pointerPart } from '../../../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../../../problems.ts'
import { isObject } from '../../schema-rules.ts'
import { fieldsOf, nameOf, parseTemplate, soleField, type Template, variantsOf } from '../../template.ts'
import { PAGED_MEMBERS, RESPONSE_MEMBERS } from './response.ts'
import type { HttpOperation } from './settings.ts'

type Fault = ProblemDetail
type Node = Readonly<Record<string, unknown>>

/** Faults of what an operation makes of answers; paths are relative to it. `output` is a schema in order, or absent. */
export function answerFaults(operation: HttpOperation, safe: boolean, output: unknown): Fault[] {
  const { response, pagination } = operation
  const members = pagination ? PAGED_MEMBERS : RESPONSE_MEMBERS
  return [
    ...statusFaults(operation),
    ...(pagination ? paginationFaults(pagination, safe) : []),
    ...(response === undefined ? [] : nodeFaults(response, '/response', members)),
    ...(response === undefined || output === undefined
      ? []
      : shapeFaults(response, '/response', output, output)),
  ]
}

function statusFaults(operation: HttpOperation): Fault[] {
  const lists = ['success_statuses', 'not_done_statuses', 'retryable_statuses'] as const
  const faults: Fault[] = []
  const seen = new Map<number, string>()
  for (const list of lists)
    for (const [at, status] of (operation[list] ?? []).entries()) {
      const other = seen.get(status)
      const path = `/${list}/${at}`
      if (other !== undefined) faults.push({ path, message: `${status} stands in ${other} as well` })
      else if (list !== 'success_statuses' && status < 300)
        faults.push({ path, message: 'is a 2xx: what was carried out is never repeated' })
      seen.set(status, list)
    }
  return faults
}

function paginationFaults(pagination: NonNullable<HttpOperation['pagination']>, safe: boolean): Fault[] {
  const { type } = pagination
  const faults: Fault[] = []
  const belongs = (name: keyof typeof pagination, types: readonly string[], needed: boolean) => {
    const path = `/pagination/${name}`
    const given = pagination[name] !== undefined
    if (given && !types.includes(type))
      faults.push({ path, message: `belongs to the type ${types.join(' or ')} only` })
    if (!given && needed && types.includes(type)) faults.push({ path, message: 'is missing' })
  }
  if (!safe) faults.push({ path: '/pagination', message: 'is for safe operations only' })
  belongs('parameter', ['cursor', 'page'], true)
  belongs('next', ['cursor'], true)
  belongs('first_page', ['page'], false)
  belongs('page_size', ['page'], false)
  return faults
}

/** Templates that cannot be read or that name what no answer has. */
function nodeFaults(node: unknown, path: string, members: readonly string[]): Fault[] {
  if (typeof node === 'string') {
    const template = parseTemplate(node, 'response')
    return typeof template === 'string' ? [{ path, message: template }] : fieldFaults(template, path, members)
  }
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([name, value]) =>
    nodeFaults(value, `${path}/${pointerPart(name)}`, members),
  )
}

const fieldFaults = (template: Template, path: string, members: readonly string[]): Fault[] =>
  fieldsOf(template).flatMap((field): Fault[] => {
    const [member, name, ...more] = field.path
    const known = member !== undefined && members.includes(member)
    const told = `uses ${nameOf(field, 'response')}`
    if (!known) return [{ path, message: `${told}, but an answer has ${members.join(', ')} only` }]
    if (member === 'status' && name !== undefined)
      return [{ path, message: `${told}, but a status is a number` }]
    if (member === 'headers' && (more.length > 0 || name !== name?.toLowerCase()))
      return [{ path, message: `${told}, but headers have lower-case names and texts as values` }]
    return []
  })

/** Where the mapping and the output schema cannot both be right; what depends on the answer is not looked at. */
function shapeFaults(node: unknown, path: string, schema: unknown, root: unknown): Fault[] {
  const variants = variantsOf(schema, root)
  const types = typesOf(variants)
  if (typeof node === 'string') {
    const template = parseTemplate(node, 'response')
    if (typeof template === 'string' || soleField(template) || types?.has('string') !== false) return []
    return [{ path, message: 'makes a text, which the output schema does not allow here' }]
  }
  if (!isObject(node)) return []
  if (types?.has('object') === false)
    return [{ path, message: 'makes an object, which the output schema does not allow here' }]
  return [...requiredFaults(node, path, schema, root), ...memberFaults(node, path, variants, root)]
}

function requiredFaults(node: Node, path: string, schema: unknown, root: unknown): Fault[] {
  // Of alternatives any one may hold, so only what stands outside of them is certain.
  const certain =
    isObject(schema) && schema.$ref === undefined ? [schema] : variantsOf(schema, root).slice(0, 2)
  const required = certain.flatMap(({ required: names }) => (Array.isArray(names) ? names : []))
  return [...new Set(required.map(String))]
    .filter((name) => !Object.hasOwn(node, name))
    .map((name) => ({ path, message: `does not set ${name}, which the output schema requires` }))
}

function memberFaults(node: Node, path: string, variants: readonly Node[], root: unknown): Fault[] {
  const closed =
    variants.length === 1 && variants[0]?.additionalProperties === false && !variants[0].patternProperties
  return Object.entries(node).flatMap(([name, value]) => {
    const at = `${path}/${pointerPart(name)}`
    const schemas = variants.flatMap(({ properties }) =>
      isObject(properties) && Object.hasOwn(properties, name) ? [properties[name]] : [],
    )
    const [only, ...more] = schemas
    if (only === undefined)
      return closed ? [{ path: at, message: 'is not in the output schema, which is closed' }] : []
    return more.length > 0 ? [] : shapeFaults(value, at, only, root)
  })
}

function typesOf(variants: readonly Node[]): ReadonlySet<string> | undefined {
  const types = variants.flatMap(({ type }) => (type === undefined ? [] : [type].flat()))
  return types.length > 0 ? new Set(types.map(String)) : undefined
}
