import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import { createBatcher } from '../../queue/batcher.ts'
import { backoffMs } from '../../queue/loop.ts'
import { endKeys, type KeyEnd } from './execution-keys.sql.ts'
import { BATCHES, byKey } from './key-batches.ts'

/** The effect has happened: with the database away the caller gets the answer after this time anyway. */
const ANSWER_ANYWAY_MS = 3_000
/** Beyond it the answer is given up: the execution is unknown, as if the process had died. */
const GIVE_UP_AFTER_MS = 10 * 60_000
const CLOSE_ATTEMPTS = 3

export interface KeyEnds {
  end(end: KeyEnd): Promise<void>
  /** Ends that are not stored yet. */
  readonly size: number
  close(): Promise<void>
}

/** Writes the ends of executions in batches, and again until they are written. */
export function createKeyEnds({
  db,
  clock,
  random,
  log,
  metrics,
}: Pick<Platform, 'db' | 'clock' | 'random' | 'log' | 'metrics'>): KeyEnds {
  const counted = (what: string, help: string) => metrics.counter(`execution_ends_${what}_total`, help)
  const stale = counted(
    'stale',
    'Ends of executions that others had taken up or settled; nothing was changed',
  )
  const late = counted('late', 'Answers given before they were stored, because the database was away')
  const lost = counted('lost', 'Ends of executions that could not be stored')
  const closing = new AbortController()
  const storing = new Set<Promise<void>>()
  let unstored = 0

  const giveUp = (ends: readonly KeyEnd[], err: unknown): void => {
    lost.inc(ends.length)
    log.error(
      { err, ends: ends.length, execution_id: ends[0]?.executionId },
      'the outcome of executions could not be stored; it counts as unknown',
    )
  }

  const store = async (ends: readonly KeyEnd[]): Promise<void> => {
    const giveUpAt = clock.monotonic() + GIVE_UP_AFTER_MS
    let attemptsLeft = CLOSE_ATTEMPTS
    for (let failures = 1; ; failures += 1)
      try {
        const ended = await endKeys(db, { ends })
        if (ended.length < ends.length) {
          stale.inc(ends.length - ended.length)
          log.warn({ stale: ends.length - ended.length }, 'executions ended after others had taken them up')
        }
        return
      } catch (error) {
        if (!(error instanceof Problem)) {
          // The database is there and refuses it: one of them is at fault, and would be the next time.
          if (ends.length === 1) return giveUp(ends, error)
          for (const end of ends) await store([end])
          return
        }
        if (closing.signal.aborted) attemptsLeft -= 1
        if (attemptsLeft === 0 || clock.monotonic() > giveUpAt) return giveUp(ends, error)
        await clock.sleep(backoffMs(failures, random), closing.signal).catch(() => undefined)
      }
  }

  /** Stored, or not yet: then it goes on behind the answers. */
  const flush = async (ends: readonly KeyEnd[]): Promise<PromiseSettledResult<void>[]> => {
    const work = store([...ends].sort(byKey))
    storing.add(work)
    unstored += ends.length
    const done = new AbortController()
    const stored = work.then(() => {
      storing.delete(work)
      unstored -= ends.length
      done.abort()
      return true
    })
    const inTime = await Promise.race([
      stored,
      clock.sleep(ANSWER_ANYWAY_MS, done.signal).then(
        () => false,
        () => true,
      ),
    ])
    const answers = ends.filter(({ to }) => to !== 'released').length
    if (!inTime && answers > 0) {
      late.inc(answers)
      log.warn({ answers }, 'the database is away: answers are given before they are stored')
    }
    return ends.map(() => ({ status: 'fulfilled', value: undefined }))
  }
  const batcher = createBatcher<KeyEnd, void>({ ...BATCHES, flush })

  return {
    end: (end) => batcher.add(end),
    get size() {
      return batcher.size + unstored
    },
    close: async () => {
      closing.abort()
      await batcher.drained()
      await Promise.all(storing)
    },
  }
}
