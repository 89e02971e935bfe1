/** Where the inputs of jobs are that are not with the job, by the kind of their `InputRef`. Wiring only. */
import type { ClaimedJob } from '../queue/job.ts'

type Read = (job: ClaimedJob) => Promise<unknown>

/** Reads the input of a job that has an `inputRef`. A kind that this version does not know is a fault of ours. */
export const readJobInput = (sources: Readonly<Record<string, Read>> = {}): Read => {
  const known = new Map(Object.entries(sources))
  return (job) => {
    const read = known.get(job.inputRef?.kind ?? '')
    if (!read)
      throw new Error(
        `the input of a job is at a place that this version does not know: ${job.inputRef?.kind}`,
      )
    return read(job)
  }
}
