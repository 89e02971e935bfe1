/** Merges concurrent single calls into batches. */
export interface Batcher<Item, Answer> {
  /** Answers when the batch of the item is done; rejects with the item's own failure. */
  add(item: Item): Promise<Answer>
  /** Items that wait or are in flight. */
  readonly size: number
  /** Resolves as soon as nothing waits and nothing is in flight. */
  drained(): Promise<void>
}

export interface BatcherOptions<Item, Answer> {
  readonly maxRows: number
  readonly maxInFlight: number
  /**
   * So many items go at once when a slot is free. Fewer wait for the end of the turn and leave the last slot to
   * those that are enough, because a batch costs something of its own. Default: no such difference.
   */
  readonly enough?: number
  /** Gives one result per item, in order. A rejection fails every item of the batch. */
  flush(items: readonly Item[]): Promise<readonly PromiseSettledResult<Answer>[]>
}

interface Waiting<Item, Answer> {
  readonly item: Item
  readonly resolve: (answer: Answer) => void
  readonly reject: (reason: unknown) => void
}

/**
 * Flushes as soon as a slot is free: an idle batcher sends a lone item at once, a busy one gathers what arrives
 * while all slots are taken. There is no timer: a fixed delay costs latency when idle and rows when busy
 * (research/performance.md §5c).
 */
export function createBatcher<Item, Answer>(options: BatcherOptions<Item, Answer>): Batcher<Item, Answer> {
  const { maxRows, maxInFlight, enough = maxRows } = options
  const slotsOfFew = options.enough === undefined ? maxInFlight : Math.max(1, maxInFlight - 1)
  let waiting: Waiting<Item, Answer>[] = []
  let inFlight = 0
  let itemsInFlight = 0
  let scheduled = false
  let whenDrained: (() => void)[] = []

  const hasSlot = (): boolean => inFlight < (waiting.length < enough ? slotsOfFew : maxInFlight)

  const pump = (): void => {
    while (waiting.length > 0 && hasSlot()) {
      const batch = waiting.slice(0, maxRows)
      waiting = waiting.slice(maxRows)
      void send(batch)
    }
    if (inFlight === 0 && waiting.length === 0) {
      for (const resolve of whenDrained) resolve()
      whenDrained = []
    }
  }

  const send = async (batch: readonly Waiting<Item, Answer>[]): Promise<void> => {
    inFlight += 1
    itemsInFlight += batch.length
    try {
      const results = await options.flush(batch.map(({ item }) => item))
      for (const [index, { resolve, reject }] of batch.entries()) {
        const result = results[index]
        if (result?.status === 'fulfilled') resolve(result.value)
        else reject(result ? result.reason : new Error('the batch gave no result for this item'))
      }
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      inFlight -= 1
      itemsInFlight -= batch.length
      pump()
    }
  }

  return {
    add: (item) =>
      new Promise<Answer>((resolve, reject) => {
        waiting.push({ item, resolve, reject })
        if (!hasSlot()) return
        // A long turn reads many calls: the database begins with the first ones while the others are still read.
        if (waiting.length >= enough) pump()
        else if (!scheduled) {
          scheduled = true
          // After the current turn of the event loop: calls that arrived in one read share a batch.
          setImmediate(() => {
            scheduled = false
            pump()
          })
        }
      }),
    get size() {
      return waiting.length + itemsInFlight
    },
    drained: () =>
      inFlight === 0 && waiting.length === 0
        ? Promise.resolve()
        : new Promise((resolve) => whenDrained.push(resolve)),
  }
}
