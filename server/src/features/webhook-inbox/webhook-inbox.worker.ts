import type { Platform } from '../../platform/platform.ts'
import { type Loop, startLoop } from '../../queue/loop.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { forgetItems, forgetPlans, forgetSubjects } from './plan-items.sql.ts'
import { nextDue } from './plans.sql.ts'
import { INBOX_PLAN_CHANNEL } from './plans.ts'
import { type RunDeps, runNextStep } from './run-plan.ts'

export interface InboxWorkDeps extends Omit<RunDeps, 'db' | 'log'> {
  readonly platform: Pick<Platform, 'db' | 'log' | 'clock' | 'random' | 'metrics' | 'notifications'>
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

/** Searches for and runs the bulk actions on the inboxes of all workspaces. Any number of workers may do it at once. */
export interface InboxWork {
  start(): void
  /** Lets the running step end; another worker, or the next start, goes on from there. */
  stop(): Promise<void>
}

/** Plans ring; this is for the ring that was lost. */
const LONGEST_PAUSE_MS = 1_000
/** A plan that is due but at another worker is looked at again after this time. */
const SHORTEST_PAUSE_MS = 20
const TIDY_EVERY_MS = 60_000
const TIDY_BATCH = 500
const PLAN_DAYS = 90

export function createInboxWork({ platform, wakeUp, ...deps }: InboxWorkDeps): InboxWork {
  const { db, log, clock, random, metrics, notifications } = platform
  const acted = metrics.counter(
    'webhook_inbox_actions_total',
    'Events of the webhook inbox that bulk actions were about',
    ['action', 'result'],
  )
  let loops: Loop[] = []
  let unlisten: (() => void) | undefined

  const runPlans = async (): Promise<number> => {
    const step = await runNextStep({ ...deps, db, log })
    if (step) {
      acted.inc({ action: step.action, result: 'done' }, step.done)
      acted.inc({ action: step.action, result: 'skipped' }, step.skipped)
      wakeUp.hint(step.lanes)
      return 0
    }
    const { in_ms } = await nextDue(db, undefined)
    return Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, in_ms ?? LONGEST_PAUSE_MS))
  }

  const tidy = async (): Promise<number> => {
    while ((await forgetSubjects(db, { limit: TIDY_BATCH })) === TIDY_BATCH);
    while ((await forgetItems(db, { limit: TIDY_BATCH })) === TIDY_BATCH);
    while ((await forgetPlans(db, { days: PLAN_DAYS, limit: TIDY_BATCH })) === TIDY_BATCH);
    return TIDY_EVERY_MS * (0.75 + random() / 2)
  }

  return {
    start: () => {
      const plans = startLoop({ name: 'webhook inbox plans', clock, random, log, work: runPlans })
      loops = [plans, startLoop({ name: 'webhook inbox care', clock, random, log, work: tidy })]
      unlisten = notifications.listen(INBOX_PLAN_CHANNEL, () => plans.ring())
    },
    stop: async () => {
      unlisten?.()
      await Promise.all(loops.map((loop) => loop.stop()))
    },
  }
}
