/** Where the inputs of jobs are that are not with the job, by the kind of their `InputRef`. Wiring only. */
import { createPayloadInput, PAYLOAD_INPUT } from '../features/jobs/jobs.ts'
import type { Payloads } from '../features/payloads/payloads.ts'
import { createDeliveryInput, INBOX_INPUT, type JobWithInput } from '../features/webhooks/webhooks.ts'
import type { Queryable } from '../platform/db/statement.ts'

type Read = (job: JobWithInput, maxBytes?: number) => Promise<unknown>

/** Reads the input of a job that has an `inputRef`. A kind that this version does not know is a fault of ours. */
const readJobInput = (sources: Readonly<Record<string, Read>>): Read => {
  const known = new Map(Object.entries(sources))
  return (job, maxBytes) => {
    const read = known.get(job.inputRef?.kind ?? '')
    if (!read)
      throw new Error(
        `the input of a job is at a place that this version does not know: ${job.inputRef?.kind}`,
      )
    return read(job, maxBytes)
  }
}

/** The reader of one process. `together`: see `createDeliveryInput`. */
export const openJobInputs = (deps: {
  readonly db: Queryable
  readonly payloads: Pick<Payloads, 'read'>
  readonly together: boolean
}): Read =>
  readJobInput({
    [INBOX_INPUT]: createDeliveryInput({ ...deps, readPayload: deps.payloads.read }),
    [PAYLOAD_INPUT]: createPayloadInput(deps.payloads),
  })
