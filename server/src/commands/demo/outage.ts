import { type Api, ApiError } from '../api.ts'
import { print } from '../command.ts'
import { shown } from './expect.ts'
import type { DemoProduct } from './product.ts'
import { printTimeline, waitForEvents } from './timeline.ts'

const REASON = 'demo'
const KEY = { 'idempotency-key': 'order-17/charge' }
const CHARGE = { connector: 'payments', operation: 'charge', input: { order: 17, amount: 4_200 } }

interface Answered {
  readonly output: unknown
  readonly idempotency: { readonly replayed: boolean }
  readonly trace_id: string
}

/** A call that a product repeats because it lost the answer, and a provider that is gone. */
export async function repeatedAndGone(stage: {
  readonly control: Api
  readonly exec: Api
  readonly product: DemoProduct
}): Promise<void> {
  const { control, exec, product } = stage
  print('\n7. The same call twice, and a provider that is gone')
  await configure(control, product)
  const [first, second] = [
    await exec.post<Answered>('/execute', CHARGE, KEY),
    await exec.post<Answered>('/execute', CHARGE, KEY),
  ]
  shown(
    'the second call with the key got the first answer, and there was one charge',
    second.idempotency.replayed &&
      JSON.stringify(second.output) === JSON.stringify(first.output) &&
      product.charges === 1,
    { first, second, charges: product.charges },
  )
  const codes: unknown[] = []
  let traceId = ''
  for (const number of [1, 2, 3]) {
    const failed = await exec
      .post('/execute', { ...CHARGE, connector: 'gone' }, { 'idempotency-key': `gone-${number}` })
      .catch((error: unknown) => error)
    if (failed instanceof ApiError) {
      codes.push(failed.problem.code)
      traceId = String(failed.problem.trace_id)
    }
  }
  shown(
    'after two failures the circuit breaker refuses the third call without trying',
    codes.join() === 'upstream_error,upstream_error,circuit_open',
    codes,
  )
  const breaker = await control.get<{ state: string; why: string }>('/breakers/gone')
  shown(`operators see it: ${breaker.state}, because ${breaker.why}`, breaker.state === 'open', breaker)
  const events = await waitForEvents(exec, traceId, (types) => types.has('execution.failed'))
  printTimeline('Timeline of the refused call', traceId, events)
}

async function configure(control: Api, product: DemoProduct): Promise<void> {
  const payments = (url: string, more: object = {}) => ({
    kind: 'http',
    settings: {
      base_url: url,
      operations: {
        charge: {
          title: 'Charge an order',
          method: 'POST',
          path: '/charges',
          body: '{{input}}',
          idempotency_key_header: 'idempotency-key',
        },
      },
    },
    ...more,
  })
  const careful = { breaker: { consecutive_failures: 2 }, retry: { max_attempts: 1 } }
  await control.put('/policies/careful', { policy: careful, reason: REASON })
  await control.put('/connectors/payments', { connector: payments(product.url), reason: REASON })
  // Nothing listens on port 1.
  const gone = payments('http://127.0.0.1:1', { policy: 'careful' })
  await control.put('/connectors/gone', { connector: gone, reason: REASON })
}
