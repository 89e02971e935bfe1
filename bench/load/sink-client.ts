import { Pool } from 'undici'
import type { Item } from '../sides/side.ts'
import { startChild } from './child.ts'

export interface Sink {
  /** The call that a job makes, and that the bare client makes without a job. */
  post(item: Item): Promise<void>
  counts(): Promise<{ readonly received: number; readonly distinct: number }>
  stop(): Promise<void>
}

export async function startSink(connections: number): Promise<Sink> {
  const child = startChild('sink.ts')
  const pool = new Pool(`http://127.0.0.1:${await child.next<number>()}`, { connections })
  const headers = { 'content-type': 'application/json' }
  return {
    post: async (item) => {
      const answer = await pool.request({
        method: 'POST',
        path: `/${item.n}`,
        headers,
        body: JSON.stringify(item),
      })
      await answer.body.dump()
      if (answer.statusCode !== 200) throw new Error(`the sink answered ${answer.statusCode}`)
    },
    counts: async () => {
      const { body } = await pool.request({ method: 'GET', path: '/' })
      return (await body.json()) as { received: number; distinct: number }
    },
    stop: async () => {
      await pool.close()
      await child.stop()
    },
  }
}
