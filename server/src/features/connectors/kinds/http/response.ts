import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import { parseJson } from '../../../../platform/http/json-body.ts'
import { CallFailure } from '../../../../resilience/failure.ts'
import type { JsonSchema } from '../../define-connector.ts'
import { read } from '../../fill-template.ts'
import { type Field, factsOf, nameOf, parseTemplate, soleField, valueAt } from '../../template.ts'

/** What a response mapping sees. */
export interface AnswerView {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  /** All items of all pages; with pagination only. */
  readonly items?: readonly unknown[]
}

/** What may follow `response` in a mapping. */
export const RESPONSE_MEMBERS = ['status', 'headers', 'body']
export const PAGED_MEMBERS = [...RESPONSE_MEMBERS, 'items']

type Mapped = (answer: AnswerView) => unknown

/**
 * Makes the function that turns an answer into the output: its items or its body as they are, or what the mapping
 * makes of them. Throws `CallFailure` `output_invalid`, by the name of what is missing: the call had its effect.
 */
export function compileResponse(mapping: unknown, output: JsonSchema): Mapped {
  if (mapping === undefined) return ({ body, items }) => items ?? body
  return compileNode(mapping, [], output)
}

function compileNode(node: unknown, path: readonly string[], output: JsonSchema): Mapped {
  if (typeof node === 'string') return compileText(node, path, output)
  if (Array.isArray(node)) {
    const items = node.map((item, at) => compileNode(item, [...path, String(at)], output))
    return (answer) => items.map((item) => item(answer)).filter((item) => item !== undefined)
  }
  if (typeof node === 'object' && node !== null) {
    const members = Object.entries(node).map(
      ([name, member]) => [name, compileNode(member, [...path, name], output)] as const,
    )
    return (answer) => {
      const filled = members.map(([name, member]) => [name, member(answer)] as const)
      return Object.fromEntries(filled.filter(([, value]) => value !== undefined))
    }
  }
  return () => node
}

function compileText(text: string, path: readonly string[], output: JsonSchema): Mapped {
  const template = read(parseTemplate(text, 'response'))
  const field = soleField(template)
  const target = path.length === 0 ? 'the output' : `/${path.join('/')} of the output`
  if (!field)
    return (answer) =>
      template.parts.map((part) => (typeof part === 'string' ? part : textOf(part, answer, target))).join('')
  const required = path.length === 0 || factsOf({ path }, output)?.required === true
  return (answer) => {
    const value = valueAt(field, answer)
    if (value === undefined && required) throw missing(field, answer, `${target} needs it`)
    return value
  }
}

function textOf(field: Field, answer: AnswerView, target: string): string {
  const value = valueAt(field, answer)
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return String(value)
  throw missing(field, answer, `${target} needs it as text, a number or a boolean`)
}

function missing(field: Field, { status }: AnswerView, why: string): CallFailure {
  return new CallFailure({
    class: 'permanent',
    effect: 'done',
    kind: 'output_invalid',
    message: `The upstream answered with success, but ${nameOf(field, 'response')} is missing: ${why}.`,
    httpStatus: status,
  })
}

/** JSON as its value, other text as text, nothing as null. An unreadable answer to a success is final: it had its effect. */
export function bodyOf({ status, headers, body }: DialResponse): unknown {
  if (body.length === 0) return null
  try {
    if (/[/+]json\b/i.test(headers['content-type'] ?? '')) return parseJson(body)
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch (cause) {
    throw new CallFailure({
      class: 'permanent',
      effect: 'done',
      kind: 'output_invalid',
      message: 'The upstream answered with success, but its body is neither text nor acceptable JSON.',
      httpStatus: status,
      upstream: { http_status: status, body_excerpt: '' },
      cause,
    })
  }
}
