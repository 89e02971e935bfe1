import { expect, test } from 'vitest'
import { createLookUp } from './look-ups.ts'

/** A look-up whose runs end when the test says so. */
function manual() {
  const runs: { readonly key: string; readonly end: () => void; readonly fail: (error: Error) => void }[] = []
  const lookUp = createLookUp(
    (key) => new Promise<void>((resolve, reject) => runs.push({ key, end: resolve, fail: reject })),
  )
  return { runs, lookUp }
}

test('who asks during a run waits for the next one, which all of them share', async () => {
  const { runs, lookUp } = manual()
  const first = lookUp('a')
  const later = [lookUp('a'), lookUp('a')]
  let answered = 0
  for (const one of later) void one.then(() => (answered += 1))
  expect(runs).toHaveLength(1)
  runs[0]?.end()
  await first
  await expect.poll(() => runs.length).toBe(2)
  expect(answered).toBe(0)
  runs[1]?.end()
  await Promise.all(later)
  expect(runs).toHaveLength(2)
})

test('a question after the end of a run starts a new one', async () => {
  const { runs, lookUp } = manual()
  for (let round = 0; round < 3; round += 1) {
    const asked = lookUp('a')
    runs[round]?.end()
    await asked
  }
  expect(runs).toHaveLength(3)
})

test('a failed run fails for those who asked for it; those who wait for the next one get theirs', async () => {
  const { runs, lookUp } = manual()
  const first = lookUp('a')
  const second = lookUp('a')
  runs[0]?.fail(new Error('away'))
  await expect(first).rejects.toThrow('away')
  await expect.poll(() => runs.length).toBe(2)
  runs[1]?.end()
  await second
})

test('keys do not wait for each other', async () => {
  const { runs, lookUp } = manual()
  void lookUp('a')
  const other = lookUp('b')
  expect(runs.map(({ key }) => key)).toEqual(['a', 'b'])
  runs[1]?.end()
  await other
})
