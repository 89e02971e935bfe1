import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { deadJob } from '../../testing/dead-letters.ts'
import { clearQueue, eventsOf, type QueueFixture, queueFixture } from '../../testing/queue-fixture.ts'
import { newId } from '../platform/ids.ts'
import { purgeLetters, restoreLetters, whereaboutsOf } from './dead-letters.ts'
import { binOldLetters } from './old-letters.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterEach(() => clearQueue(fixture.owner, undefined))
afterAll(() => fixture.drop())

const bin = (limit = 100) => binOldLetters(fixture.db, { days: 90, limit })

async function letterOf(daysAgo: number, tenantId = newId()): Promise<{ tenantId: string; id: string }> {
  const { id } = await deadJob(fixture, { tenantId })
  await aged({ id }, daysAgo)
  return { tenantId, id }
}
const aged = ({ id }: { readonly id: string }, days: number) =>
  fixture.db.execute(
    {
      name: '',
      text: `update job_dead set dead_at = now() - $2 * interval '1 day',
               restored_at = restored_at - $2 * interval '1 day' where job_id = $1`,
    },
    [id, days],
  )
const placeOf = async ({ tenantId, id }: { readonly tenantId: string; readonly id: string }) =>
  (await whereaboutsOf(fixture.db, tenantId, [id])).get(id)?.place
const act = (
  work: typeof purgeLetters,
  { tenantId, id }: { readonly tenantId: string; readonly id: string },
) =>
  fixture.db.transaction((tx) =>
    work(tx, { tenantId, ids: [id], actor: 'svc:ops', why: 'still needed', planId: newId() }),
  )

test('letters of all workspaces go into the bin when they are old enough, the oldest first, and their timelines tell it', async () => {
  const young = await letterOf(89)
  const [old, older] = [await letterOf(91), await letterOf(92)]
  expect(await bin(1)).toBe(1)
  expect([await placeOf(older), await placeOf(old)]).toEqual(['bin', 'dead_letter'])
  expect(await bin()).toBe(1)
  expect(await bin()).toBe(0)
  expect([await placeOf(old), await placeOf(young)]).toEqual(['bin', 'dead_letter'])
  expect((await eventsOf(fixture.db, old)).at(-1)).toMatchObject({
    type: 'job.purged',
    message: 'Moved to the bin by retention: it had been a dead letter for 90 days.',
    data: { queue: 'default', operation: 'contact.create', actor: 'retention' },
  })
})

test('what an operator takes out of the bin stays out for as long again', async () => {
  const letter = await letterOf(91)
  await bin()
  expect(await act(restoreLetters, letter)).toEqual([letter.id])
  expect(await bin()).toBe(0)
  expect(await placeOf(letter)).toBe('dead_letter')
  await aged(letter, 91)
  expect(await bin()).toBe(1)
  // A purge by hand and its undoing count the same.
  await act(restoreLetters, letter)
  await act(purgeLetters, letter)
  await act(restoreLetters, letter)
  expect(await bin()).toBe(0)
})

test('several processes at once move each letter once', async () => {
  for (let n = 0; n < 5; n += 1) await letterOf(91)
  const moved = await Promise.all([bin(), bin(), bin()])
  expect(moved.reduce((sum, n) => sum + n, 0) + (await bin())).toBe(5)
})
