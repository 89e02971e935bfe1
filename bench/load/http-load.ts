/**
 * A process that sends one prepared HTTP/1.1 request over and over on each of its connections and reads only
 * what it must of the answers: a general client would cost as much as the server that is measured.
 */
import { closedHttpLoop } from './http-loops.ts'
import type { RawRequest } from './raw-http.ts'

export interface HttpLoad extends RawRequest {
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
}

process.once('disconnect', () => process.exit(1))
process.send?.(await closedHttpLoop(JSON.parse(process.argv[2] ?? '{}') as HttpLoad))
