import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Problem, type ProblemCode, problemDocument } from '../../problems.ts'
import { newId } from '../ids.ts'
import type { HttpServer } from './http-server.ts'
import { dropUnreadBody } from './unread-body.ts'
import { validationProblem } from './validation.ts'

const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'

/** Fastify's own refusals, in our words. Its messages are fixed texts without anything of the request. */
const FRAMEWORK_PROBLEMS: Record<string, readonly [ProblemCode, string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['body_too_large', 'The body is larger than this endpoint accepts.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'This endpoint does not take this content type.',
  ],
  FST_ERR_CTP_EMPTY_TYPE: ['unsupported_media_type', 'The content type is missing.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['malformed_body', 'The body is not as long as Content-Length says.'],
  FST_ERR_BAD_URL: ['malformed_request', 'The URL is not validly encoded.'],
  FST_ERR_MAX_PARAM_LENGTH: ['malformed_request', 'A part of the path is too long.'],
}

/** Any thrown thing as a problem; what is not expected becomes `internal_error` and shows nothing. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  const { code, validation, validationContext, statusCode } = (error ?? {}) as FastifyError
  if (validation) return validationProblem(validation, validationContext ?? 'body')
  const known = code === undefined ? undefined : FRAMEWORK_PROBLEMS[code]
  if (known) return new Problem(known[0], known[1], { cause: error })
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500 && code?.startsWith('FST_'))
    return new Problem('malformed_request', 'The request is not valid HTTP.', { cause: error })
  return new Problem('internal_error', 'An unexpected failure; it has been logged with the request id.', {
    cause: error,
  })
}

/** Sends one problem as the answer of a request and logs what the caller must not see. */
export function answerProblem(request: FastifyRequest, reply: FastifyReply, problem: Problem): FastifyReply {
  if (problem.status >= 500) {
    const level = problem.code === 'internal_error' ? 'error' : 'warn'
    request.log[level]({ err: problem.extra.cause ?? problem, code: problem.code }, 'request failed')
  }
  if (problem.extra.retryAfterSeconds !== undefined)
    reply.header('retry-after', String(Math.ceil(problem.extra.retryAfterSeconds)))
  if (problem.code === 'auth_required') reply.header('www-authenticate', 'Bearer')
  const document = problemDocument(problem, request.call)
  return reply.code(problem.status).type(PROBLEM_TYPE).serializer(JSON.stringify).send(document)
}

/** Renders every failure of a server once, as RFC 9457 problem documents. */
export function addProblemAnswers(app: HttpServer): void {
  app.setErrorHandler(async (error, request, reply) => {
    await dropUnreadBody(request.raw)
    return answerProblem(request, reply, asProblem(error))
  })
  app.setNotFoundHandler((request, reply) =>
    answerProblem(
      request,
      reply,
      new Problem('route_not_found', 'No endpoint of this plane has this method and path.'),
    ),
  )
}

const SOCKET_PROBLEMS: Record<string, readonly [ProblemCode, string]> = {
  HPE_HEADER_OVERFLOW: ['headers_too_large', 'The request headers are larger than the hub accepts.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request did not arrive in time.'],
}

/** Answers bytes that never became a request (bad framing, header overflow, slow senders) and closes. */
export function answerBrokenClient(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [code, detail] =
    SOCKET_PROBLEMS[error.code ?? ''] ?? (['malformed_request', 'The request is not valid HTTP.'] as const)
  const problem = new Problem(code, detail)
  const body = JSON.stringify(problemDocument(problem, { requestId: newId(), traceId: '0'.repeat(32) }))
  socket.end(
    `HTTP/1.1 ${problem.status} ${code}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}
