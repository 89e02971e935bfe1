import type { FastifyReply, FastifyRequest } from 'fastify'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { fingerprintOf, idempotencyKeyOf } from '../../platform/http/idempotency-key.ts'
import { preferredWaitSeconds } from '../../platform/http/prefer.ts'
import { Problem } from '../../problems.ts'
import { type RateLimitHeaders, rateLimitHeaders } from '../../resilience/rate-limit-headers.ts'
import { EXECUTE_ANSWERS, PROBLEM_MEMBERS } from './documented.ts'
import { ExecuteBody, ExecuteHeaders, ExecuteResult, MAX_WAIT_SECONDS } from './execute.schema.ts'
import type { Answer, Execution, Executor } from './execute.ts'

/** `POST /execute` for products. */
export function executeExec(app: HttpServer, executor: Pick<Executor, 'execute'>): void {
  app.post(
    '/execute',
    {
      config: { access: { permission: 'execute.call' }, answers: EXECUTE_ANSWERS },
      schema: {
        operationId: 'execute',
        tags: ['execute'],
        summary: 'Run an operation of a connector now, under its policy',
        description: PROBLEM_MEMBERS,
        headers: ExecuteHeaders,
        body: ExecuteBody,
        response: { 200: ExecuteResult },
      },
    },
    async (request, reply) => {
      const { body, principal, call } = request
      const waitSeconds = preferredWaitSeconds(request, MAX_WAIT_SECONDS)
      const execution: Execution = {
        principal,
        call,
        connector: body.connector,
        operation: body.operation,
        input: body.input,
        limits: body.options,
        dryRun: body.options?.dry_run,
        metadata: body.options?.metadata,
        idempotency: requestKeyOf(request, waitSeconds ?? 0),
        onCharged: (rules, states) => addLimits(reply, rateLimitHeaders(rules, states)),
      }
      let answer: Answer
      try {
        answer = await executor.execute(execution)
      } catch (error) {
        if (error instanceof Problem) addHeaders(reply, error, waitSeconds)
        throw error
      }
      return send(reply, answer, waitSeconds)
    },
  )
}

function send(reply: FastifyReply, answer: Answer, waitSeconds: number | undefined): FastifyReply {
  if (answer.replayed) reply.header('idempotent-replayed', 'true')
  if (answer.joined) reply.header('preference-applied', `wait=${waitSeconds}`)
  const type = answer.status < 400 ? 'application/json' : 'application/problem+json'
  return reply.code(answer.status).type(`${type}; charset=utf-8`).serializer(asItIs).send(answer.text)
}

/** It is a text already: the one that was stored. */
const asItIs = (text: unknown): string => String(text)

function requestKeyOf(request: FastifyRequest, waitSeconds: number): Execution['idempotency'] {
  const key = idempotencyKeyOf(request)
  return key === undefined
    ? undefined
    : { key, fingerprint: fingerprintOf(request), waitMs: waitSeconds * 1_000 }
}

function addLimits(reply: FastifyReply, limits: RateLimitHeaders | undefined): void {
  if (!limits) return
  reply.header('ratelimit', limits.rateLimit)
  reply.header('ratelimit-policy', limits.rateLimitPolicy)
}

function addHeaders(reply: FastifyReply, { code }: Problem, waitSeconds: number | undefined): void {
  // As the IETF draft idempotency-key asks for (§2.7): where it is said how to do it right.
  if (code === 'idempotency_key_missing') reply.header('link', `</problems/${code}>; rel="describedby"`)
  if (code === 'idempotency_in_flight' && waitSeconds)
    reply.header('preference-applied', `wait=${waitSeconds}`)
}
