import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
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
