import type { FastifyBaseLogger } from 'fastify'
import type { CallContext } from '../call-context.ts'

/** The ids of a request as its log lines carry them. */
export const idsOf = ({ requestId, correlationId, traceId }: CallContext) => ({
  request_id: requestId,
  correlation_id: correlationId,
  trace_id: traceId,
})

type Say = FastifyBaseLogger['info']

/** The logger of one request. The ids are bound for its first line: it costs, and most requests say nothing of their own. */
export function callLog(log: FastifyBaseLogger, call: CallContext): FastifyBaseLogger {
  let bound: FastifyBaseLogger | undefined
  const logger = (): FastifyBaseLogger => {
    bound ??= log.child(idsOf(call))
    return bound
  }
  const say =
    (level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'): Say =>
    (...line: Parameters<Say>) =>
      logger()[level](...line)
  return {
    level: log.level,
    child: (...bindings) => logger().child(...bindings),
    fatal: say('fatal'),
    error: say('error'),
    warn: say('warn'),
    info: say('info'),
    debug: say('debug'),
    trace: say('trace'),
    silent: say('silent'),
  }
}
