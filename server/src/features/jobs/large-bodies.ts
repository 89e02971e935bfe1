/**
 * Inputs and results that are too large for the tables of the queue: their bytes are payloads, and what stays is where
 * they are.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { ClaimedJob, EnqueuedJob, InputRef, NewJob } from '../../queue/job.ts'
import { type KeptPayload, type Payloads, payloadJson } from '../payloads/payloads.ts'

/** The kind of the refs. */
export const PAYLOAD_INPUT = 'payload'
const JSON_TYPE = 'application/json'

export type LargeBodies = Pick<Payloads, 'inlineLimitBytes' | 'keep' | 'record' | 'erase'>

export interface WithInputs {
  readonly jobs: readonly NewJob[]
  /** By the id of the job. */
  readonly kept: ReadonlyMap<string, KeptPayload>
}

/** Keeps the inputs that are too large. `bytes` is the size of the request that the jobs came in. Errors: as `Payloads.keep`. */
export async function keepInputs(
  payloads: LargeBodies,
  jobs: readonly NewJob[],
  bytes: number,
): Promise<WithInputs> {
  const kept = new Map<string, KeptPayload>()
  // Nearly always: no input is written as text a second time.
  if (bytes <= payloads.inlineLimitBytes) return { jobs, kept }
  const slim: NewJob[] = []
  for (const job of jobs) {
    const text = JSON.stringify(job.input ?? null)
    const payload = await payloads.keep(job.tenantId, Buffer.from(text), JSON_TYPE)
    if (payload) kept.set(job.id, payload)
    slim.push(payload ? { ...job, input: null, inputRef: { ...payloadJson(payload) } } : job)
  }
  return { jobs: slim, kept }
}

/** Stores jobs with the rows of their inputs, all or none. A job that was there before has its input already. */
export const enqueueWithInputs = (
  db: Db,
  payloads: LargeBodies,
  { jobs, kept }: WithInputs,
): Promise<EnqueuedJob[]> =>
  db.transaction(async (tx) => {
    const answers = await enqueueJobs(tx, jobs)
    const rows = jobs.flatMap(({ id, tenantId }) => {
      const payload = kept.get(id)
      return payload ? [{ payload, tenantId, owner: { kind: 'job_input', id } as const }] : []
    })
    await payloads.record(tx, rows)
    const stored = new Set(answers.flatMap(({ id, replayed }) => (replayed ? [] : [id])))
    for (const { payload, tenantId, owner } of rows)
      if (!stored.has(owner.id)) await payloads.erase(tx, tenantId, [payload.id])
    return answers
  })

/** Reads the input of a job whose `inputRef` is of kind `payload`. Errors: `body_too_large`, those of `Payloads.read`. */
export const createPayloadInput =
  (payloads: Pick<Payloads, 'read'>) =>
  async (
    { tenantId, inputRef }: Pick<ClaimedJob, 'tenantId' | 'inputRef'>,
    maxBytes = Number.POSITIVE_INFINITY,
  ): Promise<unknown> => {
    const ref = shownRef(inputRef)
    if (!ref) throw new Error('the input of a job is not among the payloads')
    if (ref.size > maxBytes)
      throw new Problem('body_too_large', `The input has ${ref.size} bytes: read it with GET /payloads/:id.`)
    return JSON.parse((await payloads.read(tenantId, ref.id)).toString())
  }

/** What of a result goes with the job. */
export interface StoredResult {
  readonly result: unknown
  readonly resultRef?: InputRef
}

/**
 * Keeps a result that is too large. The row is written before the attempt ends, which has its own transaction: without
 * the end nothing refers to it, and it is swept. The effect has happened, so a store that is away with a spool that is
 * full loses no result: it stays in the table, as large as the answer of an upstream may be.
 */
export async function keepResult(
  { db, log, payloads }: { readonly db: Db; readonly log: Log; readonly payloads: LargeBodies },
  job: Pick<ClaimedJob, 'tenantId' | 'id'>,
  result: unknown,
): Promise<StoredResult> {
  const text = textOf(result)
  if (text === undefined || text.length <= payloads.inlineLimitBytes) return { result }
  try {
    const payload = await payloads.keep(job.tenantId, text, JSON_TYPE)
    if (!payload) return { result }
    await db.transaction((tx) =>
      payloads.record(tx, [{ payload, owner: { kind: 'job_result', id: job.id } }]),
    )
    return { result: null, resultRef: { ...payloadJson(payload) } }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    log.warn({ err: error, job_id: job.id, bytes: text.length }, 'a large result is kept with its job')
    return { result }
  }
}

/** What is no JSON is told by whoever stores it. */
function textOf(result: unknown): Buffer | undefined {
  try {
    return Buffer.from(JSON.stringify(result ?? null))
  } catch {
    return undefined
  }
}

/** A ref as callers see it: where the bytes are, by `GET /payloads/:id`. Null for one of another kind. */
export function shownRef(ref: InputRef | null | undefined) {
  if (ref?.kind !== PAYLOAD_INPUT) return null
  const { id, size, sha256, content_type } = ref as unknown as ReturnType<typeof payloadJson>
  return { id, size, sha256, content_type }
}
