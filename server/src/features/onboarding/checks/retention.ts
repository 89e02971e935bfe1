import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import { passed } from '../verdict.ts'

/** Longer than a worker takes to follow one that has died: then nobody leads for a while, and nothing is wrong. */
const WITHIN_MS = 75_000

export const retention: Check = {
  name: 'retention',
  proves: 'It is set how long history is kept, and a worker keeps to it.',
  mend: 'Start a worker; KEEP_JOBS_DAYS, KEEP_EVENTS_DAYS, … say for how long.',
  needs: ['worker'],
  run: async ({ clock, signal, retention: { kept, isLed } }) => {
    await eventually(
      { clock, signal, withinMs: WITHIN_MS },
      'No worker has taken on to drop what is past its time',
      async () => ((await isLed()) ? { found: true } : { seen: 'no worker that leads' }),
    )
    return passed(kept)
  },
}
