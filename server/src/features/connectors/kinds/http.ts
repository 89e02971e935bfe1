import type { DialResponse } from '../../../platform/dial/dial-request.ts'
import { isHeaderValue } from '../../../platform/dial/request-headers.ts'
import { parseJson } from '../../../platform/http/json-body.ts'
import type { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import { CallFailure } from '../../../resilience/failure.ts'
import { classOfStatus, failureOfAnswer } from '../classify.ts'
import {
  type DryRunContext,
  defineConnector,
  type Health,
  type HealthContext,
  type InvokeContext,
  type Operation,
} from '../define-connector.ts'
import { httpFaults } from '../http-checks.ts'
import { compileRequest } from '../http-request.ts'
import { type HttpOperation, HttpSettings } from '../http-settings.ts'
import { MASK } from '../scrub.ts'

/** A provider's answer that is larger than this is no answer to one operation. */
const MAX_RESPONSE_BYTES = 1024 * 1024

/** Any HTTP API, described by its operations in the config. */
export const http = defineConnector({
  kind: 'http',
  title: 'HTTP API',
  description:
    'Calls an HTTP API by operations that you describe: method, path, headers, query, body and schemas.',
  settings: HttpSettings,
  secrets: {
    token: {
      title: 'Token',
      description:
        'The credential that `auth` sends: a bearer token or the value of the header. Required when `auth` sends one.',
      required: false,
    },
  },
  check: httpFaults,
  targets: (settings) => [{ path: '/settings/base_url', url: settings.base_url }],
  operations: (settings) =>
    Object.fromEntries(
      Object.entries(settings.operations).map(([name, operation]) => [
        name,
        compileOperation(name, operation, settings),
      ]),
    ),
  checkHealth,
})

/** A HEAD of the base URL with the credentials: any answer will do that does not refuse them. */
async function checkHealth(settings: HttpSettings, context: HealthContext): Promise<Health> {
  const { status } = await context.dial.request({
    method: 'HEAD',
    url: settings.base_url,
    headers: { 'user-agent': 'orchestrator', ...authHeaders(settings.auth, context.secrets.token) },
    signal: context.signal,
    connectTimeoutMs: context.connectTimeoutMs,
    maxResponseBytes: MAX_RESPONSE_BYTES,
  })
  const refused = status === 401 || status === 403
  const healthy = !refused && status < 500
  return {
    healthy,
    message: refused
      ? `The upstream refuses the credentials (HTTP ${status}).`
      : `The upstream answers a HEAD of the base URL with HTTP ${status}.`,
    details: { http_status: status },
  }
}

function compileOperation(name: string, operation: HttpOperation, settings: HttpSettings): Operation {
  const { method, idempotency_key_header: keyHeader } = operation
  const safe = operation.safe ?? (method === 'GET' || method === 'HEAD')
  const repeatable = safe || keyHeader !== undefined
  const render = compileRequest(settings.base_url, operation)
  const fixedHeaders = Object.fromEntries(
    Object.entries(settings.headers ?? {}).map(([header, value]) => [header.toLowerCase(), value]),
  )

  const requestOf = (context: DryRunContext) => {
    const rendered = render(context.input)
    if ('faults' in rendered)
      throw new Problem('input_invalid', 'The input cannot be sent to the upstream.', {
        details: rendered.faults,
      })
    const { url, headers, body } = rendered.request
    return {
      url,
      ...(body !== undefined && { body }),
      headers: {
        accept: 'application/json',
        'user-agent': 'orchestrator',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...fixedHeaders,
        ...headers,
        ...(keyHeader !== undefined && { [keyHeader.toLowerCase()]: context.idempotencyKey }),
      },
    }
  }

  const dryRun = (context: DryRunContext) => {
    const { url, headers, body } = requestOf(context)
    const auth = Object.keys(authHeaders(settings.auth, context.secrets.token)).map((name) => [name, MASK])
    return {
      method,
      url,
      headers: { ...headers, ...Object.fromEntries(auth) },
      ...(body !== undefined && { body: JSON.parse(body) as unknown }),
    }
  }

  const invoke = async (context: InvokeContext) => {
    const { url, headers, body } = requestOf(context)
    const response = await context.dial.request({
      method,
      url,
      headers: {
        ...headers,
        ...authHeaders(settings.auth, context.secrets.token),
        'x-orchestrator-attempt': context.attemptToken,
        ...(context.traceparent !== '' && { traceparent: context.traceparent }),
      },
      ...(body !== undefined && { body }),
      signal: context.signal,
      connectTimeoutMs: context.connectTimeoutMs,
      maxResponseBytes: MAX_RESPONSE_BYTES,
    })
    const { status } = response
    if (status < 200 || status > 299)
      throw failureOfAnswer(response, classOfStatus(status, repeatable), context.clock.now())
    return { output: outputOf(response), httpStatus: status }
  }

  return {
    title: operation.title ?? name,
    description: operation.description ?? '',
    input: operation.input ?? {},
    output: operation.output ?? {},
    safe,
    takesIdempotencyKey: keyHeader !== undefined,
    checkInput: (input) => {
      const rendered = render(input)
      return 'faults' in rendered ? rendered.faults : []
    },
    invoke,
    dryRun,
  }
}

/** Errors: `secret_unresolved` when the value of the secret cannot stand in a header. */
function authHeaders(auth: HttpSettings['auth'], token: Secret | undefined): Record<string, string> {
  if (!auth || auth.type === 'none' || !token) return {}
  const value = token.reveal()
  if (value === '' || !isHeaderValue(value))
    throw new Problem(
      'secret_unresolved',
      'The value of the secret token is empty or cannot stand in a header.',
    )
  return auth.type === 'bearer'
    ? { authorization: `Bearer ${value}` }
    : { [(auth.header ?? '').toLowerCase()]: value }
}

/** JSON as its value, other text as text, nothing as null. An unreadable answer to a success is final: it had its effect. */
function outputOf({ status, headers, body }: DialResponse): unknown {
  if (body.length === 0) return null
  try {
    if (/[/+]json\b/i.test(headers['content-type'] ?? '')) return parseJson(body)
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch (cause) {
    throw new CallFailure({
      class: 'permanent',
      kind: 'output_invalid',
      message: 'The upstream answered with success, but its body is neither text nor acceptable JSON.',
      httpStatus: status,
      upstream: { http_status: status, body_excerpt: '' },
      cause,
    })
  }
}
