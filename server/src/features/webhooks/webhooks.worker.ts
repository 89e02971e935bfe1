import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
import { takesLead } from '../../queue/leader.ts'
import { createHeldSample } from './delivery/held-metrics.ts'
import { createRelease, type ReleaseDeps } from './delivery/release.ts'
import { careForLines } from './intake/lines.ts'
import { forgetExpiredEvents } from './webhooks.ts'

const EVERY_MS = 60_000
/** Small enough to be over in a moment; what is left waits for the next time. */
const BATCH = 5_000

/** Forgets the dedupe keys of events that no provider sends again. Any number of workers may do it at once. */
export const createInboxCare = ({ db, log, clock }: Pick<Platform, 'db' | 'log' | 'clock'>): RepeatedWork =>
  repeatedWork({
    clock,
    everyMs: EVERY_MS,
    work: () => forgetExpiredEvents(db, BATCH),
    failed: (err) =>
      log.warn({ err }, 'expired webhook keys could not be forgotten; tried again in a minute'),
  })

/** How long an event waits at most after its cause is gone, or its turn in a line has come without anybody telling. */
const RELEASE_MS = 2_000
const SAMPLE_MS = 15_000
/** Of the time of this worker that samples take, at most one part in so many. */
const SAMPLE_SHARE = 20
const LEADER = 'webhooks_held'
/** Longer than a round with nothing to release takes. A longer one bears a second worker beside it. */
const LEAD_MS = 10_000

/** Delivers events that no longer have to wait: those of lines any number of workers at once, those held one for all. */
export function createHeldCare(
  deps: ReleaseDeps & { readonly platform: Pick<Platform, 'clock'> },
): RepeatedWork {
  const { db, clock, log } = deps.platform
  const owner = newId()
  const release = createRelease(deps)
  const sample = createHeldSample(deps)
  let sampleAt = clock.monotonic()

  const turns = async (stopping: AbortSignal): Promise<void> => {
    for (let more = true; more && !stopping.aborted; ) {
      const looked = await careForLines(db)
      deps.wakeUp.hint(looked.lanes)
      more = looked.more
    }
  }

  return repeatedWork({
    clock,
    everyMs: RELEASE_MS,
    work: async (stopping) => {
      for (let more = true; more && !stopping.aborted; ) {
        const leads = await takesLead(db, { name: LEADER, owner, ttlMs: LEAD_MS })
        more = leads && (await release(stopping)).more
        await turns(stopping)
        if (!leads) sample.forget()
        else if (clock.monotonic() >= sampleAt) {
          const begun = clock.monotonic()
          await sample.measure()
          const tookMs = clock.monotonic() - begun
          sampleAt = begun + Math.max(SAMPLE_MS, SAMPLE_SHARE * tookMs)
        }
      }
    },
    failed: (err) => log.warn({ err }, 'held webhooks could not be released; tried again in a moment'),
  })
}
