import { openGraphile } from './graphile.ts'
import type { Side } from './side.ts'

export const graphileWorker: Side = {
  configuration: 'defaults: one statement per fetch and per completion; pool = concurrency + 1',
  open: (where) => openGraphile(where, {}),
}
