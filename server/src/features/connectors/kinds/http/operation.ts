import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import { Problem } from '../../../../problems.ts'
import { classOfStatus, failureOfAnswer } from '../../classify.ts'
import type { DryRunContext, InvokeContext, Operation } from '../../define-connector.ts'
import { MASK } from '../../scrub.ts'
import { bearer, credentialsOf, type PlainRequest, withCredentials } from './auth.ts'
import type { TokenSource } from './oauth.ts'
import { readPages } from './pages.ts'
import { compileRequest } from './request.ts'
import { type AnswerView, bodyOf, compileResponse } from './response.ts'
import { sendAuthorized } from './send.ts'
import type { HttpOperation, HttpSettings } from './settings.ts'

/** A provider's answer that is larger than this is no answer to one operation, and no page of a list. */
export const MAX_RESPONSE_BYTES = 4 * 1024 * 1024
export const DEADLINE_HEADER = 'x-orchestrator-deadline-ms'

/** An operation of the config made callable. `tokens` gives the tokens of an auth of type `oauth2`. */
export function compileOperation(
  name: string,
  operation: HttpOperation,
  settings: HttpSettings,
  tokens: TokenSource,
): Operation {
  const { method, idempotency_key_header: keyHeader, pagination } = operation
  const safe = operation.safe ?? (method === 'GET' || method === 'HEAD')
  const idempotent = operation.idempotent ?? false
  const repeatable = safe || idempotent || keyHeader !== undefined
  const output = operation.output ?? {}
  const render = compileRequest(settings.base_url, operation)
  const outputOf = compileResponse(operation.response, output)
  const deadlineHeader = (settings.deadline_header ?? DEADLINE_HEADER).toLowerCase()
  const statuses = {
    success: operation.success_statuses,
    notDone: operation.not_done_statuses,
    retryable: operation.retryable_statuses,
  }
  const isSuccess = (status: number) => statuses.success?.includes(status) ?? (status >= 200 && status <= 299)
  const fixedHeaders = Object.fromEntries(
    Object.entries(settings.headers ?? {}).map(([header, value]) => [header.toLowerCase(), value]),
  )

  const requestOf = (context: DryRunContext): PlainRequest => {
    const rendered = render(context.input)
    if ('faults' in rendered)
      throw new Problem('input_invalid', 'The input cannot be sent to the upstream.', {
        details: rendered.faults,
      })
    const { url, headers, body } = rendered.request
    return {
      method,
      url,
      ...(body !== undefined && { body }),
      headers: {
        accept: 'application/json',
        'user-agent': 'orchestrator',
        ...fixedHeaders,
        ...headers,
        ...(keyHeader !== undefined && { [keyHeader.toLowerCase()]: context.idempotencyKey }),
      },
    }
  }

  const invoke = async (context: InvokeContext) => {
    const request = requestOf(context)
    const endsAt = context.clock.monotonic() + context.remainingMs
    const send = async (url: string, maxResponseBytes: number): Promise<DialResponse> => {
      const leftMs = Math.max(0, Math.floor(endsAt - context.clock.monotonic()))
      const headers = {
        ...request.headers,
        'x-orchestrator-attempt': context.attemptToken,
        ...(Number.isFinite(leftMs) && { [deadlineHeader]: String(leftMs) }),
        ...(context.traceparent !== '' && { traceparent: context.traceparent }),
      }
      const limit = Math.min(maxResponseBytes, MAX_RESPONSE_BYTES)
      const response = await sendAuthorized(
        { auth: settings.auth, tokens, maxResponseBytes: limit },
        { ...request, url, headers },
        context,
      )
      if (isSuccess(response.status)) return response
      const failureClass = classOfStatus(response.status, repeatable, statuses)
      throw failureOfAnswer(response, failureClass, context.clock.now(), statuses.notDone)
    }
    const answer = pagination
      ? await readPages(request.url, pagination, send)
      : viewOf(await send(request.url, MAX_RESPONSE_BYTES))
    return { output: outputOf(answer), httpStatus: answer.status }
  }

  const dryRun = (context: DryRunContext) => {
    const request = requestOf(context)
    const { auth } = settings
    const credentials =
      auth?.type === 'oauth2'
        ? [bearer(MASK)]
        : credentialsOf(auth, request, context.clock.now(), context.secrets)
    const { body, ...shown } = withCredentials(request, credentials, true)
    if (body === undefined) return shown
    return {
      ...shown,
      body: (operation.body_type ?? 'json') === 'json' ? (JSON.parse(body) as unknown) : body,
    }
  }

  return {
    title: operation.title ?? name,
    description: operation.description ?? '',
    input: operation.input ?? {},
    output,
    safe,
    idempotent,
    takesIdempotencyKey: keyHeader !== undefined,
    checkInput: (input) => {
      const rendered = render(input)
      return 'faults' in rendered ? rendered.faults : []
    },
    invoke,
    dryRun,
  }
}

const viewOf = (response: DialResponse): AnswerView => ({
  status: response.status,
  headers: response.headers,
  body: bodyOf(response),
})
