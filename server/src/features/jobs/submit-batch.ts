import { createHash } from 'node:crypto'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { enqueueJobs, startable } from '../../queue/enqueue.ts'
import type { EnqueuedJob, NewJob } from '../../queue/job.ts'
import { jobsOfKeys } from '../../queue/job-of-key.ts'
import { admitJobs } from './admit-jobs.ts'
import type { BatchItem } from './jobs.schema.ts'
import type { JobDeps } from './jobs.ts'
import { enqueueWithInputs, keepInputs } from './large-bodies.ts'
import { type Caller, connectorsOf, newJob } from './new-job.ts'

type Dedupe = NonNullable<NewJob['dedupe']>

export interface Batch {
  readonly items: readonly BatchItem[]
  /** Of the Idempotency-Key of the whole request. */
  readonly dedupe?: Dedupe | undefined
  /** The size of the request. */
  readonly bytes: number
  /** Faults of the items that are no jobs at all, by their index. */
  readonly malformed?: ReadonlyMap<number, readonly ProblemDetail[]> | undefined
}

/** Faults per item: who has more in one job mends some and asks again. */
const MAX_FAULTS_OF_ITEM = 10

/**
 * Accepts all jobs or none, in one transaction, all of them by one config. An item whose key was used for the same
 * job answers with the first one, `replayed: true`. Errors: `validation_error` that names every item at fault, and
 * of each item every fault; `idempotency_key_reused` with the places of the keys; `database_unavailable`, `overloaded`,
 * `payload_store_unavailable`.
 */
export async function submitBatch(
  deps: JobDeps,
  caller: Caller,
  { items, dedupe, bytes, malformed = new Map() }: Batch,
): Promise<EnqueuedJob[]> {
  const { tenantId } = caller.principal
  const formed = items.filter((_, at) => !malformed.has(at))
  const config = await deps.activeConfigs.get(tenantId, connectorsOf(formed))
  if (malformed.size === 0) admitJobs(deps.loadShed, config, items, deps.wouldHave)
  const faults = new Map(malformed)
  const jobs = new Map<number, NewJob>()
  const keys = new Map<number, Dedupe>()
  for (const [at, item] of items.entries()) {
    if (malformed.has(at)) continue
    const key = keyOf(item, at, dedupe)
    if (key) keys.set(at, key)
    const own = faultsOf(() => {
      const job = newJob(config, deps.clock, caller, item, pathOf(at))
      jobs.set(at, key ? { ...job, dedupe: key } : job)
    }, at)
    if (own.length > 0) faults.set(at, own)
  }
  const answers = await firstJobs(deps, tenantId, faults, keys)
  for (const at of answers.keys()) faults.delete(at)
  if (faults.size > 0) throw atFault(faults, items.length)

  await deps.backlog.admit(tenantId, jobs.size)
  const places = [...jobs.keys()]
  const withInputs = await keepInputs(deps.payloads, [...jobs.values()], bytes)
  const storing =
    withInputs.kept.size > 0
      ? enqueueWithInputs(deps.db, deps.payloads, withInputs)
      : enqueueJobs(deps.db, withInputs.jobs)
  const enqueued = await storing.catch((error: unknown) => {
    throw withPlaces(error, (index) => {
      const at = places[index] ?? index
      return items[at]?.idempotency_key === undefined
        ? '/headers/idempotency-key'
        : `${pathOf(at)}/idempotency_key`
    })
  })
  deps.wakeUp.hint(startable([...jobs.values()], enqueued))
  for (const [index, job] of enqueued.entries()) answers.set(places[index] ?? index, job)
  return items.flatMap((_, at) => answers.get(at) ?? [])
}

const pathOf = (at: number): string => `/body/jobs/${at}`

const sha256 = (text: string) => createHash('sha256').update(text)

/** A stored key has 255 characters at most, the place of the item among them. */
const LONGEST_PREFIX = 250

/**
 * The key of an item: its own, or its place under the key of the request. An own key stands for the item as it was
 * read, with the defaults of its schema: a field that a later release adds must have none, or repeats from before
 * would be other jobs. A key of the request stands for the bytes of the whole request.
 */
function keyOf(item: BatchItem, at: number, dedupe: Dedupe | undefined): Dedupe | undefined {
  const { idempotency_key: key, ...job } = item
  if (key !== undefined)
    return { key, requestHash: sha256(`item of POST /jobs/batch\n${JSON.stringify(job)}`).digest() }
  if (dedupe === undefined) return undefined
  const prefix = dedupe.key.length > LONGEST_PREFIX ? sha256(dedupe.key).digest('hex') : dedupe.key
  return { key: `${prefix}/${at}`, requestHash: dedupe.requestHash }
}

/** What was accepted once stays accepted, whatever the config and the clock say now. By the place of the item. */
async function firstJobs(
  { db }: JobDeps,
  tenantId: string,
  faults: ReadonlyMap<number, unknown>,
  keys: ReadonlyMap<number, Dedupe>,
): Promise<Map<number, EnqueuedJob>> {
  const asked = [...keys].filter(([at]) => faults.has(at))
  const known =
    asked.length > 0
      ? await jobsOfKeys(
          db,
          tenantId,
          asked.map(([, key]) => key),
        )
      : new Map()
  return new Map(
    asked.flatMap(([at, { key }]): [number, EnqueuedJob][] => {
      const first = known.get(key)
      return first ? [[at, first]] : []
    }),
  )
}

function faultsOf(check: () => unknown, at: number): readonly ProblemDetail[] {
  try {
    check()
    return []
  } catch (error) {
    if (!(error instanceof Problem) || error.status >= 500) throw error
    return error.extra.details ?? [{ path: pathOf(at), message: error.message }]
  }
}

function atFault(faults: ReadonlyMap<number, readonly ProblemDetail[]>, count: number): Problem {
  const inOrder = [...faults].sort(([a], [b]) => a - b)
  const details = inOrder.flatMap(([, own]) => own.slice(0, MAX_FAULTS_OF_ITEM))
  const message = `${faults.size} of ${count} jobs are at fault; nothing was stored.`
  return new Problem('validation_error', message, { details })
}

/** The queue names the places of used keys in what it was given (`/7`); the caller knows those of its request. */
function withPlaces(error: unknown, placeOf: (index: number) => string): unknown {
  if (!(error instanceof Problem) || error.code !== 'idempotency_key_reused') return error
  const paths = (error.extra.details ?? []).map(({ path }) => placeOf(Number(path.slice(1))))
  const message = 'was used before for a different request'
  const details = [...new Set(paths)].map((path) => ({ path, message }))
  return new Problem(error.code, `${error.message} Nothing was stored.`, { details })
}
