import type { ConnectorConfig } from '../src/features/connectors/connectors.ts'
import {
  checkConnectorHealth,
  compileConnector,
  dryRunOperation,
  invokeOperation,
} from '../src/features/connectors/connectors.ts'
import type { Dial } from '../src/platform/dial/dial.ts'
import type { DialFailure } from '../src/platform/dial/dial-failure.ts'
import type { DialRequest } from '../src/platform/dial/dial-request.ts'
import { Secret } from '../src/platform/secret.ts'
import { type ManualClock, manualClock } from './manual-clock.ts'

/** What the other side answers; a body that is no text is sent as JSON. */
export interface FakeAnswer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

export type Answers = (
  request: DialRequest,
  number: number,
) => FakeAnswer | DialFailure | Promise<FakeAnswer | DialFailure>

/** A connector over a dial that answers by a function: for what is sent and made of answers, not for sockets. */
export function calledConnector(
  config: ConnectorConfig,
  answers: Answers,
  options: { readonly secrets?: Record<string, string>; readonly clock?: ManualClock } = {},
) {
  const clock = options.clock ?? manualClock()
  const secrets = options.secrets ?? {}
  const requests: DialRequest[] = []
  const dial: Dial = {
    request: async (request) => {
      requests.push(request)
      const answer = await answers(request, requests.length)
      if (answer instanceof Error) throw answer
      const { status = 200, headers = {}, body = '' } = answer
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      const type = typeof body === 'string' ? 'text/plain' : 'application/json'
      return { status, headers: { 'content-type': type, ...headers }, body: Buffer.from(text) }
    },
    connect: () => Promise.reject(new Error('nobody connects')),
    refusal: () => undefined,
    close: async () => undefined,
  }
  const connector = compileConnector({ name: 'api', lane: 1, config })
  const deps = { dial, clock, resolveSecret: async (ref: string) => new Secret(secrets[ref] ?? '') }
  const signal = new AbortController().signal
  return {
    clock,
    requests,
    connector,
    secrets,
    call: (operation: string, input: unknown = {}, own: { signal?: AbortSignal } = {}) =>
      invokeOperation(deps, connector, operation, input, {
        signal,
        connectTimeoutMs: 3_000,
        remainingMs: 10_000,
        idempotencyKey: 'key-1',
        attemptToken: 'attempt-1',
        traceparent: '',
        ...own,
      }),
    dryRun: (operation: string, input: unknown = {}) =>
      dryRunOperation(deps, connector, operation, input, 'key-1'),
    health: () => checkConnectorHealth(deps, connector, { signal, connectTimeoutMs: 3_000 }),
  }
}
