import type { Counts, Engine } from '../sides/side.ts'
import { loadSide } from '../sides/sides.ts'
import type { Run, Sample } from './case.ts'

/** Opens the participant's engine, measures, closes it. */
export async function onEngine(run: Run, measure: (engine: Engine) => Promise<Sample>): Promise<Sample> {
  const side = await loadSide(run.participant)
  const engine = await side.open(run)
  try {
    return await measure(engine)
  } finally {
    await engine.close()
  }
}

/** After enqueues without workers: every accepted job must wait in the store, and no other. */
export const storedProblems = ({ unfinished, failed }: Counts, accepted: number): string[] => [
  ...(unfinished === accepted ? [] : [`${accepted} jobs were accepted, ${unfinished} are in the store`]),
  ...(failed === 0 ? [] : [`${failed} jobs failed`]),
]
