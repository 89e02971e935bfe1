/**
 * A process that sends one prepared request at a fixed rate, whether or not earlier ones were answered. A latency
 * counts from the moment at which the request was due, so that who waits for a free connection is seen as well.
 */
import { openHttpLoop } from './http-loops.ts'
import type { RawRequest } from './raw-http.ts'

export interface HttpRate extends RawRequest {
  readonly perSecond: number
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
}

process.once('disconnect', () => process.exit(1))
process.send?.(await openHttpLoop(JSON.parse(process.argv[2] ?? '{}') as HttpRate))
