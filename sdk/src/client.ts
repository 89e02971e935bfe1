/**
 * A typed client of the execution plane. No dependencies and no retries: the hub retries. Every execution carries an
 * idempotency key, by default a random one; a caller who repeats a call must give it the key of the first one.
 */

import type {
  EventFilter,
  ExecuteRequest,
  ExecuteResult,
  HubEvent,
  Job,
  JobAccepted,
  JobAttempt,
  JobRequest,
  Page,
  ProblemDocument,
} from './wire.ts'

export type {
  EventFilter,
  ExecuteRequest,
  ExecuteResult,
  HubEvent,
  Job,
  JobAccepted,
  JobAttempt,
  JobRequest,
  Metadata,
  Page,
  ProblemDocument,
  QueueName,
} from './wire.ts'

export interface ClientOptions {
  /** Root of the execution plane, e.g. `https://hub.example.com`. */
  readonly baseUrl: string
  /** A bearer token that lives as long as the client … */
  readonly token?: string
  /** … or where to get one. Called for every request; with `refresh` after the hub refused the last one. */
  readonly getToken?: (refresh: boolean) => string | Promise<string>
  /** Ends a request without an answer. Default 70 s: longer than the longest execution. */
  readonly timeoutMs?: number
  readonly fetch?: typeof fetch
}

export interface CallOptions {
  /**
   * Sent as `Idempotency-Key`: give it to everything that must not happen twice. Made from what the call is about
   * (`order-17/charge`) it also survives a restart of the caller. Absent: `execute` makes a random one for this one
   * call (`result.idempotency.key`, and `error.idempotencyKey` when it fails), `createJob` sends none.
   */
  readonly idempotencyKey?: string
  /** `execute` only: when the same call is running already, wait so many seconds for its answer, at most 10. */
  readonly waitSeconds?: number
  readonly correlationId?: string
  /** W3C Trace Context, to continue the caller's trace. */
  readonly traceparent?: string
  readonly signal?: AbortSignal
}

/** The hub answered, but not with success. */
export class OrchestratorError extends Error {
  override readonly name = 'OrchestratorError'
  readonly status: number
  /** `code` of the problem; `http_<status>` when the answer was not the hub's (a proxy in between). */
  readonly code: string
  readonly problem: ProblemDocument | undefined
  /** From `Retry-After`. */
  readonly retryAfterSeconds: number | undefined
  /** Under which the call was made: repeat it with the same one. */
  readonly idempotencyKey: string | undefined

  constructor(
    status: number,
    problem: ProblemDocument | undefined,
    retryAfterSeconds: number | undefined,
    idempotencyKey?: string,
  ) {
    super(
      problem
        ? `${problem.code}: ${problem.detail}`
        : `The answer was HTTP ${status} and no problem document.`,
    )
    this.status = status
    this.code = problem?.code ?? `http_${status}`
    this.problem = problem
    this.retryAfterSeconds = retryAfterSeconds
    this.idempotencyKey = idempotencyKey
  }
}

/**
 * No answer that can be used: the network, the time limit, or the signal of the caller. The call may have had its
 * effect. `cause` is what `fetch` threw, or the reason of the signal.
 */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError'
  /** Under which the call was made: repeat it with the same one. */
  readonly idempotencyKey: string | undefined

  // An error of its own, because several calls may be given up for one and the same reason.
  constructor(cause: unknown, idempotencyKey: string | undefined) {
    super(`No answer of the hub: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.idempotencyKey = idempotencyKey
  }
}

export interface Client {
  /** Runs an operation now; the same idempotency key gives the first answer instead of a second effect. */
  execute<Output = unknown>(request: ExecuteRequest, options?: CallOptions): Promise<ExecuteResult<Output>>
  /** Hands an operation over to run later; the same idempotency key gives the same job. */
  createJob(request: JobRequest, options?: CallOptions): Promise<JobAccepted>
  getJob(
    id: string,
    options?: CallOptions,
  ): Promise<{ readonly job: Job; readonly attempts: readonly JobAttempt[] }>
  listEvents(filter?: EventFilter, options?: CallOptions): Promise<Page<HubEvent>>
}

/** Makes a client. Throws `TypeError` without a token or a usable `baseUrl`. */
export function createClient(options: ClientOptions): Client {
  const { token, getToken = token === undefined ? undefined : () => token } = options
  if (!getToken) throw new TypeError('createClient needs `token` or `getToken`')
  const root = new URL(options.baseUrl)
  const send = options.fetch ?? fetch

  const once = async (method: string, path: string, body: unknown, call: CallOptions, refresh: boolean) => {
    const bearer = await getToken(refresh)
    const timeout = AbortSignal.timeout(options.timeoutMs ?? 70_000)
    const sent: RequestInit = {
      method,
      headers: {
        accept: 'application/json',
        authorization: `Bearer ${bearer}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(call.idempotencyKey !== undefined && { 'idempotency-key': call.idempotencyKey }),
        ...(call.waitSeconds !== undefined && { prefer: `wait=${call.waitSeconds}` }),
        ...(call.correlationId !== undefined && { 'x-correlation-id': call.correlationId }),
        ...(call.traceparent !== undefined && { traceparent: call.traceparent }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: call.signal ? AbortSignal.any([call.signal, timeout]) : timeout,
      redirect: 'error',
    }
    const url = new URL(path, root.href.endsWith('/') ? root : `${root.href}/`)
    return orNoAnswer(send(url, sent), call)
  }

  const request = async <Result>(method: string, path: string, body: unknown, call: CallOptions = {}) => {
    let response = await once(method, path, body, call, false)
    // A refused token has done nothing yet, so this one repetition is safe.
    if (response.status === 401 && options.getToken) {
      await response.body?.cancel()
      response = await once(method, path, body, call, true)
    }
    if (!response.ok) throw await errorOf(response, call.idempotencyKey)
    return (await orNoAnswer(response.json(), call)) as Result
  }

  return {
    execute: (body, call) =>
      request('POST', 'execute', body, {
        ...call,
        idempotencyKey: call?.idempotencyKey ?? crypto.randomUUID(),
      }),
    createJob: (body, call) => request('POST', 'jobs', body, call),
    getJob: (id, call) => request('GET', `jobs/${encodeURIComponent(id)}`, undefined, call),
    listEvents: (filter = {}, call) => {
      const query = new URLSearchParams()
      for (const [name, value] of Object.entries(filter))
        if (value !== undefined) query.set(name, String(value))
      return request('GET', `events?${query}`, undefined, call)
    },
  }
}

/** Errors: `NoAnswerError`. */
const orNoAnswer = <Value>(answer: Promise<Value>, { idempotencyKey }: CallOptions): Promise<Value> =>
  answer.catch((cause: unknown) => {
    throw new NoAnswerError(cause, idempotencyKey)
  })

async function errorOf(response: Response, key: string | undefined): Promise<OrchestratorError> {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  const isProblem = response.headers.get('content-type')?.includes('application/problem+json') ?? false
  const problem = isProblem
    ? ((await response.json().catch(() => undefined)) as ProblemDocument | undefined)
    : undefined
  if (!isProblem) await response.body?.cancel()
  return new OrchestratorError(response.status, problem, Number.isFinite(seconds) ? seconds : undefined, key)
}
