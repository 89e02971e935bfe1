/**
 * A process that plays the provider: signs its events first, says so, and sends them when it is told to, as fast as they
 * are answered or at a fixed rate. Running out of events is a failure: nothing is sent twice.
 */
import { once } from 'node:events'
import { closedHttpLoop, openHttpLoop } from './http-loops.ts'
import { signedRequests } from './stripe-events.ts'

export interface WebhookLoad {
  readonly port: number
  readonly path: string
  readonly series: string
  /** How many are signed. */
  readonly count: number
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
  /** Absent = as fast as they are answered. */
  readonly perSecond?: number
}

const load = JSON.parse(process.argv[2] ?? '{}') as WebhookLoad
const requests = signedRequests(load)
let at = 0
const next = (): Buffer => {
  const request = requests[at]
  at += 1
  if (!request) throw new Error(`${load.count} signed events were too few`)
  return request
}
process.once('disconnect', () => process.exit(1))
process.send?.('signed')
await once(process, 'message')
const { perSecond } = load
process.send?.(
  perSecond === undefined
    ? await closedHttpLoop({ ...load, next })
    : await openHttpLoop({ ...load, perSecond, next }),
)
