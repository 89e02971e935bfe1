/** A process that makes one measurement: takes a `Request` as its argument, sends a `Sample` and ends. */
import type { Run, Sample } from './cases/case.ts'
import { CASES } from './cases/cases.ts'

export interface Request extends Run {
  readonly caseId: string
}

async function main(): Promise<Sample> {
  const request = JSON.parse(process.argv[2] ?? '{}') as Request
  const found = CASES.find(({ id }) => id === request.caseId)
  if (!found) throw new Error(`there is no case ${request.caseId}`)
  return found.measure(request)
}

// The orchestrating process is gone: nobody wants the answer.
process.once('disconnect', () => process.exit(1))

const sample = await main().catch(
  (error: unknown): Sample => ({
    metrics: {},
    problems: [error instanceof Error ? (error.stack ?? error.message) : String(error)],
  }),
)
// Left-over timers and sockets of any side must not hold the process up.
process.send?.(sample, () => process.exit(0))
