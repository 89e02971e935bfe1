import type { Check } from '../check.ts'
import { mustBe, passed } from '../verdict.ts'

export const retention: Check = {
  name: 'retention',
  proves: 'It is set how long history is kept, and a worker keeps to it.',
  mend: 'Start a worker; KEEP_JOBS_DAYS, KEEP_EVENTS_DAYS, … say for how long.',
  needs: ['worker'],
  run: async ({ retention: { kept, isLed } }) => {
    mustBe(await isLed(), 'No worker has taken on to drop what is past its time.')
    return passed(kept)
  },
}
