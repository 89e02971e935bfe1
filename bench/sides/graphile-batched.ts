import { openGraphile } from './graphile.ts'
import type { Side } from './side.ts'

/** The settings of their own benchmark (https://worker.graphile.org/docs/performance). */
const batching = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } as const

export const graphileBatched: Side = {
  configuration: 'localQueue 500, completeJobBatchDelay 0, failJobBatchDelay 0; pool 25',
  open: (where) => openGraphile(where, { batching }),
}
