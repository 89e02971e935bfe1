/** What every refusal must be: a problem document of the catalogue that names the field and tells nothing else. */
import { Ajv, type ValidateFunction } from 'ajv'
import { PROBLEMS } from '../../server/src/problems.ts'
import type { Answer, OpenApi } from './wire.ts'

export interface ProblemDocument {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly instance: string
  readonly request_id: string
  readonly trace_id: string
  readonly details?: readonly { readonly path: string; readonly message: string }[]
}

/** What no answer may hold, whoever asks: stack frames, source paths, SQL and what Postgres says. */
const INTERNALS = [
  /\bat (\S+ \()?\S+:\d+:\d+|\.[jt]s:\d+/,
  /node_modules|node:internal|file:\/\/\//,
  /\/(src|server|tmp|home|root|work)\//,
  /\b(select .+ from|insert into|delete from|update .+ set)\b/i,
  /postgres|SQLSTATE|sql statement|relation "|column "|violates|syntax error at|input syntax|out of range for type/i,
  /ECONN|EADDR|ENOENT|127\.0\.0\.1|localhost/,
  /undefined|\[object Object\]|NaN/,
]

const CODES_THAT_NAME_FIELDS = new Set([
  'validation_error',
  'config_invalid',
  'input_invalid',
  'policy_violation',
])

export interface Expectation {
  readonly codes?: readonly string[] | undefined
  readonly at?: string | undefined
  /** Text of the request's own that the answer may repeat. */
  readonly own?: string
}

export type AnswerCheck = (answer: Answer, expectation?: Expectation) => string[]

/** Makes the check of one server's refusals; it gives every fault as a sentence. */
export function answerCheck(document: OpenApi, internals: readonly string[]): AnswerCheck {
  const ajv = new Ajv({ strict: false, allErrors: true })
  const fits: ValidateFunction = ajv.compile(document.components.schemas.Problem ?? false)
  return ({ status, headers, text }, { codes, at, own = '' } = {}) => {
    const faults: string[] = []
    if (status < 400 || status > 499) faults.push(`the status is ${status}`)
    if (!String(headers['content-type']).startsWith('application/problem+json'))
      faults.push(`the content type is ${headers['content-type']}`)
    for (const internal of internals) if (text.includes(internal)) faults.push(`it tells ${internal}`)
    for (const pattern of INTERNALS) {
      const found = pattern.exec(text)?.[0]
      if (found !== undefined && !own.includes(found)) faults.push(`it tells ${found}`)
    }
    let problem: ProblemDocument
    try {
      problem = JSON.parse(text) as ProblemDocument
    } catch {
      return [...faults, 'it is no JSON']
    }
    if (!fits(problem)) faults.push(`it does not fit the schema Problem: ${ajv.errorsText(fits.errors)}`)
    const kind = Object.hasOwn(PROBLEMS, problem.code)
      ? PROBLEMS[problem.code as keyof typeof PROBLEMS]
      : undefined
    if (kind?.status !== status || problem.status !== status)
      faults.push(`${problem.code} is ${kind?.status} in the catalogue`)
    if (codes && !codes.includes(problem.code)) faults.push(`the code is ${problem.code}, not ${codes}`)
    if (headers['x-request-id'] !== undefined && headers['x-request-id'] !== problem.request_id)
      faults.push('the request id is not the one of the header')
    if (problem.instance !== `urn:request:${problem.request_id}`)
      faults.push(`instance is ${problem.instance}`)
    const details = problem.details ?? []
    if (CODES_THAT_NAME_FIELDS.has(problem.code) && details.length === 0) faults.push('it names no field')
    for (const { path, message } of details)
      if (!/^\/(body|query|path|headers|document)(\/|$)/.test(path) || message === '')
        faults.push(`the path ${path} leads nowhere`)
    if (at !== undefined && !details.some(({ path }) => path === at || path.startsWith(`${at}/`)))
      faults.push(`it does not name ${at} but ${details.map(({ path }) => path).join(' ') || 'nothing'}`)
    return faults.length === 0 ? [] : [...faults, text.slice(0, 400)]
  }
}
