import { eraseQuarantined } from '../src/features/quarantine/quarantine.ts'
import { type RunDeps, runNextStep, type StepResult } from '../src/features/webhook-inbox/run-plan.ts'
import { run } from '../src/platform/db/statement.ts'
import type { TestPlatform } from './database.ts'

const hurry = run<undefined>(
  'test.hurry_inbox_plans',
  `update webhook_plan set next_at = clock_timestamp() - interval '1 second' where next_at is not null`,
  () => [],
)

/** What a worker has for the plans of the inbox; nothing is in a payload store, and no connector is anywhere. */
export const planWork = (
  { db, log }: Pick<TestPlatform, 'db' | 'log'>,
  deps: Partial<RunDeps> = {},
): RunDeps => ({
  ...{ db, log, eraseQuarantined },
  target: async () => undefined,
  readPayload: async () => {
    throw new Error('nothing is in the payload store')
  },
  erasePayloads: async () => undefined,
  ...deps,
})

/** The next step, without the pause of its rate. */
export async function stepNow(work: RunDeps): Promise<StepResult | undefined> {
  await hurry(work.db, undefined)
  return runNextStep(work)
}

/** Every step that there is; what waits for a commit waits on. */
export async function runAllPlans(work: RunDeps): Promise<void> {
  while (await stepNow(work));
}
