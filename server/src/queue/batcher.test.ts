import { describe, expect, test } from 'vitest'
import { createBatcher } from './batcher.ts'

/** A flush that the test ends by hand. */
function manualFlush() {
  const batches: {
    items: number[]
    end(results?: PromiseSettledResult<string>[]): void
    fail(e: Error): void
  }[] = []
  const flush = (items: readonly number[]) =>
    new Promise<PromiseSettledResult<string>[]>((resolve, reject) => {
      const answers = items.map((item) => ({ status: 'fulfilled' as const, value: `#${item}` }))
      batches.push({ items: [...items], end: (results = answers) => resolve(results), fail: reject })
    })
  return { batches, flush }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('createBatcher', () => {
  test('sends a lone item at once and gathers while every slot is taken', async () => {
    const { batches, flush } = manualFlush()
    const batcher = createBatcher({ maxRows: 3, maxInFlight: 2, flush })
    const answers: Promise<string>[] = []
    for (const item of [1, 2]) {
      answers.push(batcher.add(item))
      await turn()
    }
    for (const item of [3, 4, 5, 6]) answers.push(batcher.add(item))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1], [2]])
    expect(batcher.size).toBe(6)

    batches[0]?.end()
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1], [2], [3, 4, 5]])
    batches[2]?.end()
    await turn()
    batches[1]?.end()
    batches[3]?.end()
    expect(await Promise.all(answers)).toEqual(['#1', '#2', '#3', '#4', '#5', '#6'])
  })

  test('calls of one turn share a batch', async () => {
    const { batches, flush } = manualFlush()
    const batcher = createBatcher({ maxRows: 10, maxInFlight: 3, flush })
    const answers = [1, 2, 3].map((item) => batcher.add(item))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1, 2, 3]])
    batches[0]?.end()
    await Promise.all(answers)
  })

  test('enough items do not wait for the end of the turn, what comes after them does', async () => {
    const { batches, flush } = manualFlush()
    const batcher = createBatcher({ maxRows: 10, maxInFlight: 3, enough: 2, flush })
    const answers = [1, 2, 3].map((item) => batcher.add(item))
    expect(batches.map(({ items }) => items)).toEqual([[1, 2]])
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1, 2], [3]])
    for (const batch of batches) batch.end()
    expect(await Promise.all(answers)).toHaveLength(3)
  })

  test('the last slot is for enough items: fewer wait for more of them or for an end', async () => {
    const { batches, flush } = manualFlush()
    const batcher = createBatcher({ maxRows: 10, maxInFlight: 2, enough: 2, flush })
    const answers = [batcher.add(1)]
    await turn()
    answers.push(batcher.add(2))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1]])
    answers.push(batcher.add(3))
    expect(batches.map(({ items }) => items)).toEqual([[1], [2, 3]])
    for (const item of [4, 5, 6]) answers.push(batcher.add(item))
    answers.push(batcher.add(7))
    await turn()
    expect(batches).toHaveLength(2)
    batches[1]?.end()
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1], [2, 3], [4, 5, 6, 7]])
    answers.push(batcher.add(8))
    batches[2]?.end()
    await turn()
    batches[0]?.end()
    await turn()
    expect(batches.at(-1)?.items).toEqual([8])
    batches[3]?.end()
    expect(await Promise.all(answers)).toHaveLength(8)
    await batcher.drained()
  })

  test('each caller gets its own failure; a failed flush fails its whole batch and frees its slot', async () => {
    const { batches, flush } = manualFlush()
    const batcher = createBatcher({ maxRows: 2, maxInFlight: 1, flush })
    const answers = [1, 2, 3, 4].map((item) => batcher.add(item).catch((error: Error) => error.message))
    await turn()
    batches[0]?.end([
      { status: 'fulfilled', value: 'ok' },
      { status: 'rejected', reason: new Error('only mine') },
    ])
    await turn()
    batches[1]?.fail(new Error('all of us'))
    expect(await Promise.all(answers)).toEqual(['ok', 'only mine', 'all of us', 'all of us'])
    expect(batcher.size).toBe(0)
  })

  test('drained waits for what is gathered and what is in flight', async () => {
    const { batches, flush } = manualFlush()
    const batcher = createBatcher({ maxRows: 1, maxInFlight: 1, flush })
    await batcher.drained()
    void batcher.add(1)
    void batcher.add(2)
    let drained = false
    const waiting = batcher.drained().then(() => {
      drained = true
    })
    await turn()
    batches[0]?.end()
    await turn()
    expect(drained).toBe(false)
    batches[1]?.end()
    await waiting
    expect(drained).toBe(true)
  })
})
