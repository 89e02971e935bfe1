import { Type } from 'typebox'
import type { HttpServer } from './http-server.ts'

/** One dependency of a process. Resolves when it is usable; rejects or hangs when it is not. */
export interface ReadinessCheck {
  readonly name: string
  readonly check: () => Promise<unknown>
  /** What is worse without it, for operators. Given: the process is ready without it, too. */
  readonly without?: string
}

const CHECK_TIMEOUT_MS = 1_000

export const ReadinessChecks = Type.Array(
  Type.Object({
    name: Type.String({ description: 'What was asked.' }),
    ok: Type.Boolean({ description: 'Whether it is usable.' }),
    detail: Type.Optional(Type.String({ description: 'Why it is not.' })),
  }),
  { description: 'Each dependency by name.' },
)

const Readiness = Type.Object({
  ready: Type.Boolean({
    description: 'Whether every check is good that the process cannot work without.',
  }),
  checks: ReadinessChecks,
})

/** The result of one check within its time limit. The cause of a failure stays in the log. */
async function outcome({
  name,
  check,
  without,
}: ReadinessCheck): Promise<{ name: string; ok: boolean; detail?: string }> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('timeout')), CHECK_TIMEOUT_MS)
  })
  try {
    await Promise.race([check(), timeout])
    return { name, ok: true }
  } catch (error) {
    const late = error instanceof Error && error.message === 'timeout'
    const why = late ? `no answer within ${CHECK_TIMEOUT_MS} ms` : 'not usable'
    return { name, ok: false, detail: without === undefined ? why : `${why}; without it, ${without}` }
  } finally {
    clearTimeout(timer)
  }
}

/** `/health` (the process lives), `/ready` (each dependency by name; 503 when one fails or it is stopping), `/metrics`. */
export function addProbes(
  app: HttpServer,
  options: {
    readonly checks: readonly ReadinessCheck[]
    readonly isStopping: () => boolean
    readonly metricsText: () => Promise<string>
    readonly metricsType: string
  },
): void {
  const config = { access: 'public' } as const

  app.get(
    '/health',
    {
      config,
      schema: {
        operationId: 'getHealth',
        tags: ['operations'],
        summary: 'Is the process alive',
        response: {
          200: Type.Object({ status: Type.Literal('ok', { description: 'It answers, so it lives.' }) }),
        },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/ready',
    {
      config,
      schema: {
        operationId: 'getReadiness',
        tags: ['operations'],
        summary: 'Can the process do its work; each dependency is named',
        response: { 200: Readiness, 503: Readiness },
      },
    },
    async (_request, reply) => {
      const checks = await Promise.all(options.checks.map(outcome))
      const ready = checks.every(({ ok }, at) => ok || options.checks[at]?.without !== undefined)
      if (!options.isStopping()) return reply.code(ready ? 200 : 503).send({ ready, checks })
      checks.push({ name: 'running', ok: false, detail: 'the process is stopping' })
      return reply.code(503).send({ ready: false, checks })
    },
  )

  app.get(
    '/metrics',
    {
      config,
      schema: {
        operationId: 'getMetrics',
        tags: ['operations'],
        summary: 'Metrics in the Prometheus text format',
        response: {
          200: { description: 'The metrics', content: { 'text/plain': { schema: Type.String() } } },
        },
      },
    },
    async (_request, reply) => reply.type(options.metricsType).send(await options.metricsText()),
  )
}
