import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
import { createGapDetector, type GapDetectorDeps } from './gap-detector.ts'

/** How soon somebody who asks for a check sees it begin. */
const EVERY_MS = 2_000
const SWEEP_EVERY_MS = 30_000

/** Looks for webhooks that never arrived, for all workspaces. Any number of workers may do it at once. */
export function createGapWork(
  deps: Omit<GapDetectorDeps, 'platform'> & { readonly platform: Platform },
): Pick<RepeatedWork, 'start' | 'stop'> {
  const { clock, log } = deps.platform
  const detector = createGapDetector(deps)
  const every = (everyMs: number, what: string, step: (stopping: AbortSignal) => Promise<boolean>) =>
    repeatedWork({
      clock,
      everyMs,
      work: async (stopping) => {
        while (!stopping.aborted && (await step(stopping)));
      },
      failed: (err) => log.warn({ err }, `${what}; tried again in a moment`),
    })
  const works = [
    every(EVERY_MS, 'the next check for missing webhooks could not begin', detector.checkNext),
    every(EVERY_MS, 'missing webhooks could not be pulled', detector.pullSome),
    every(SWEEP_EVERY_MS, 'missing webhooks could not be told from arrived ones', detector.sweep),
  ]
  return {
    start: () => {
      for (const work of works) work.start()
    },
    stop: async () => {
      await Promise.all(works.map((work) => work.stop()))
    },
  }
}
