import { Queue, Worker } from 'bullmq'
import type { Engine, Item, Side, Where, WorkerSettings } from './side.ts'

const QUEUE = 'bench'

async function open(port: number): Promise<Engine> {
  const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null }
  // Finished jobs are removed, as their guide for production advises; failed ones stay to be counted.
  const queue = new Queue<Item>(QUEUE, {
    connection,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: false },
  })
  await queue.waitUntilReady()
  await queue.obliterate({ force: true })

  const startWorkers = async ({ concurrency, handler }: WorkerSettings) => {
    const worker = new Worker<Item>(QUEUE, async ({ data }) => handler(data), { connection, concurrency })
    await worker.waitUntilReady()
    return () => worker.close()
  }

  return {
    enqueueOne: async (item) => {
      await queue.add(QUEUE, item)
    },
    enqueueBatch: async (items) => {
      await queue.addBulk(items.map((data) => ({ name: QUEUE, data })))
    },
    startWorkers,
    drained: async () =>
      (await queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized')) === 0,
    counts: async () => ({
      unfinished: await queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized'),
      failed: await queue.getJobCountByTypes('failed'),
    }),
    close: async () => {
      await queue.obliterate({ force: true })
      await queue.close()
    },
  }
}

const sideOn = (appendfsync: 'always' | 'everysec'): Side => ({
  configuration: `Redis with AOF, appendfsync ${appendfsync}; one worker, removeOnComplete`,
  open: ({ redis }: Where) => {
    if (!redis) throw new Error('BullMQ needs Redis')
    return open(redis[appendfsync])
  },
})

export const bullmqAlways = sideOn('always')
export const bullmqEverysec = sideOn('everysec')
