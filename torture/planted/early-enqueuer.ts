import { createEnqueuer as createReal, type Enqueuer } from '../../server/src/queue/enqueuer.ts'

export type { Enqueuer }

/** As the real one, but it does not wait for the commit. */
export function createEnqueuer(...args: Parameters<typeof createReal>): Enqueuer {
  const real = createReal(...args)
  return {
    close: () => real.close(),
    enqueue: async (job) => {
      real.enqueue(job).catch(() => undefined)
      return { id: job.id, queuedAt: new Date(), replayed: false }
    },
  }
}
