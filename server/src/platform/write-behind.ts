import type { Counter } from 'prom-client'
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

export interface WriteBehind<Item> {
  /** Takes an item; it is written soon. Never throws, never waits. */
  add(item: Item): void
  /** Resolves when everything is written, or given up after some attempts. */
  close(): Promise<void>
}

export interface WriteBehindOptions<Item> {
  readonly clock: Clock
  readonly log: Log
  /** For the log, plural: `request log rows`. */
  readonly what: string
  /** Counts what is lost. */
  readonly dropped: Pick<Counter, 'inc'> | undefined
  /** Writes a batch, or nothing of it. */
  write(batch: readonly Item[]): Promise<unknown>
  /** True when it is the items that cannot be written, now or later; otherwise they wait. */
  isFault(error: unknown): boolean
  /** What the log may say of an item that is lost. */
  factsOf(item: Item): Readonly<Record<string, unknown>>
  readonly maxBatch: number
  /** Beyond it the oldest ones go: what waits for the database must not take the memory of the work. */
  readonly maxWaiting: number
  /** What comes within this time after a batch shares the next one. Alone, an item is written at once. */
  readonly gatherMs: number
}

const RETRY_MS = 1_000
const CLOSE_ATTEMPTS = 3

/**
 * Writes behind the work that it tells of, in batches and in order. With the database away items wait, bounded; one
 * that cannot be written takes no other with it. What is lost is counted.
 */
export function createWriteBehind<Item>(options: WriteBehindOptions<Item>): WriteBehind<Item> {
  const { clock, log, what, maxBatch, maxWaiting, gatherMs } = options
  const waiting: Item[] = []
  const closing = new AbortController()
  let attemptsLeft = CLOSE_ATTEMPTS
  let writing: Promise<void> | undefined

  const drop = (items: readonly Item[], why: string, err?: unknown): void => {
    const [first] = items
    if (first === undefined) return
    options.dropped?.inc(items.length)
    log.error({ err, count: items.length, ...options.factsOf(first) }, `${what} are lost: ${why}`)
  }

  /** Counted and not logged: it would be a line for every item of an outage. */
  const trim = (): void => {
    if (waiting.length > maxWaiting)
      options.dropped?.inc(waiting.splice(0, waiting.length - maxWaiting).length)
  }

  /** Gives the items that have to wait. A batch that cannot be written is halved until the item at fault is alone. */
  const write = async (batch: readonly Item[]): Promise<readonly Item[]> => {
    try {
      await options.write(batch)
      return []
    } catch (error) {
      if (!options.isFault(error)) {
        log.warn({ err: error, count: batch.length + waiting.length }, `${what} could not be written`)
        return batch
      }
      if (batch.length === 1) {
        drop(batch, 'the database refuses it', error)
        return []
      }
      const half = Math.ceil(batch.length / 2)
      const left = await write(batch.slice(0, half))
      return left.length > 0 ? [...left, ...batch.slice(half)] : write(batch.slice(half))
    }
  }

  const writeAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const left = await write(waiting.splice(0, maxBatch))
      if (left.length === 0) {
        if (gatherMs > 0 && waiting.length < maxBatch)
          await clock.sleep(gatherMs, closing.signal).catch(() => undefined)
        continue
      }
      waiting.unshift(...left)
      trim()
      if (closing.signal.aborted) attemptsLeft -= 1
      if (attemptsLeft === 0) drop(waiting.splice(0), 'the process stops while the database is away')
      else await clock.sleep(RETRY_MS, closing.signal).catch(() => undefined)
    }
    // In the same turn as the last look at `waiting`: what is added from now on starts anew.
    writing = undefined
  }

  return {
    add: (item) => {
      waiting.push(item)
      trim()
      writing ??= writeAll()
    },
    close: async () => {
      closing.abort()
      await writing
    },
  }
}
