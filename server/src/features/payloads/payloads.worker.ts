import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
import { createPayloadRounds, type PayloadCare, type PayloadStores, SWEEP_EVERY_MS } from './payloads.ts'

const EVERY_MS = { move: 5_000, erase: 10_000, sweep: SWEEP_EVERY_MS } as const

/** Moves spooled bodies into their store, deletes objects whose rows have gone, and looks for what nothing refers to. */
export function createPayloadWork(
  platform: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>,
  stores: PayloadStores,
): RepeatedWork {
  const { clock, log } = platform
  const rounds = createPayloadRounds(platform, stores)
  const works = (['move', 'erase', 'sweep'] as const satisfies readonly (keyof PayloadCare)[]).map((round) =>
    repeatedWork({
      ...{ clock, everyMs: EVERY_MS[round], work: rounds[round] },
      failed: (err) => log.warn({ err, round }, 'a round of care for payloads failed; it is tried again'),
    }),
  )
  return {
    start: () => {
      for (const work of works) work.start()
    },
    stop: async () => {
      await Promise.all(works.map((work) => work.stop()))
    },
  }
}
