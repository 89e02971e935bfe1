import { Problem } from '../../problems.ts'
import type { ClaimedJob } from '../../queue/job.ts'

/** What of a job says where its input is. */
export type JobWithInput = Pick<ClaimedJob, 'tenantId' | 'inboxId' | 'input' | 'inputRef'>

export interface InputDeps {
  /**
   * The whole input of a job that has an `inputRef`. Errors: `body_too_large` beyond `maxBytes`, and a `Problem` that
   * says why there is none.
   */
  readonly readInput: (job: JobWithInput, maxBytes?: number) => Promise<unknown>
}

/** Above it an answer would be a load of its own. More than a webhook may have by default. */
const SHOWN_BYTES = 5_242_880

/** The input as it is shown: with what is kept elsewhere, or with the reason why it is not there. */
export async function wholeInput(
  { readInput }: InputDeps,
  job: JobWithInput,
): Promise<{
  readonly input: unknown
  readonly input_missing: { readonly code: string; readonly message: string } | null
}> {
  if (job.inputRef === null) return { input: job.input, input_missing: null }
  try {
    return { input: await readInput(job, SHOWN_BYTES), input_missing: null }
  } catch (error) {
    // The rest of the job is there all the same, also for the operator who looks why it does not go on.
    if (!(error instanceof Problem) || error.code === 'database_unavailable') throw error
    return { input: job.input, input_missing: { code: error.code, message: error.message } }
  }
}
