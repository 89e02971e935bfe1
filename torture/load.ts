import { setTimeout as delay } from 'node:timers/promises'
import type { Answer, Script, Send } from './history.ts'
import type { Seeded } from './random.ts'
import { PRODUCT, type Tenant } from './world.ts'

export interface LoadOptions {
  readonly random: Seeded
  readonly ratePerSecond: number
  readonly tenants: readonly Tenant[]
  readonly execUrls: readonly string[]
  /** Time that the sink takes for a job, in ms. */
  readonly workMs: { readonly usual: readonly [number, number]; readonly long: readonly [number, number] }
  /** Share of the jobs that take the long time. */
  readonly longShare: number
}

export interface Load {
  /** What clients know so far. */
  readonly sends: readonly Send[]
  /** Jobs that were asked for, answered or not. */
  readonly asked: number
  /** One more job, which nothing hinders, cancels or lets expire; asks until it is accepted. */
  bait(workMs: number): Promise<Bait>
  /** Sends nothing new and waits until every client has its answer or has given up, after `patienceMs` at most. */
  stop(patienceMs?: number): Promise<void>
}

/** A job that was accepted, for a scene that waits for what becomes of it. */
export interface Bait {
  readonly send: string
  readonly jobId: string
}

interface Wanted {
  readonly send: string
  readonly tenant: Tenant
  readonly connector: string
  readonly script: Script
  readonly keyed: boolean
  readonly batch: string | null
  readonly body: Readonly<Record<string, unknown>>
  /** How often its client asks before it gives up. */
  readonly patience: number
  readonly cancelAfterMs: number | undefined
}

interface Told {
  readonly answer: Answer
  readonly status: number | null
  readonly body: unknown
}

const ANSWER_MS = 8_000
const MOST_OPEN = 150
/** After the end of the load: by then everything is healed. */
const LAST_WORDS_MS = 15_000
const SCRIPTS: Readonly<Record<Script, number>> = { ok: 80, flaky: 6, busy: 4, drop: 7, refuse: 3 }
const QUEUES = { critical: 10, webhook: 20, default: 50, low: 20 }

const inMs = (ms: number): string => new Date(Date.now() + ms).toISOString()

/** Clients of the hub: an open load of a bounded rate; each client asks again as its key allows. */
export function startLoad(options: LoadOptions): Load {
  const { random, tenants, execUrls } = options
  const sends: Send[] = []
  const open = new Set<Promise<void>>()
  let count = 0
  let stopping = false
  let giveUpAt = Infinity

  const wanted = (batch: string | null): Wanted => {
    count += 1
    const send = `s${count}`
    const tenant = random.pick(tenants)
    const connector = random.pick(tenant.connectors)
    const script = random.weighted(SCRIPTS)
    const [low, high] = random.chance(options.longShare) ? options.workMs.long : options.workMs.usual
    const keyed = batch === null && random.chance(0.7)
    const body = {
      connector,
      operation: 'effect',
      input: { send, work_ms: random.whole(low, high), script },
      queue: random.weighted(QUEUES),
      priority: random.whole(1, 4),
      metadata: { send },
      ...(random.chance(0.1) && { run_at: inMs(random.whole(200, 3_000)) }),
      ...(random.chance(0.05) && { expires_at: inMs(random.whole(4_000, 12_000)) }),
      ...(random.chance(0.15) && { callback: { connector: PRODUCT } }),
    }
    return {
      ...{ send, tenant, connector, script, keyed, batch, body },
      patience: keyed && random.chance(0.75) ? 30 : 1,
      cancelAfterMs: random.chance(0.04) ? random.whole(0, 1_500) : undefined,
    }
  }

  const post = async (tenant: Tenant, path: string, body: unknown, key?: string): Promise<Told> => {
    const headers = {
      authorization: `Bearer ${await tenant.token()}`,
      'content-type': 'application/json',
      ...(key !== undefined && { 'idempotency-key': key }),
    }
    try {
      const signal = AbortSignal.timeout(ANSWER_MS)
      const url = `${random.pick(execUrls)}${path}`
      const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body), signal })
      const { status } = answer
      const text: unknown = await answer.json()
      if (status === 202 || status === 200) return { answer: 'accepted', status, body: text }
      return { answer: status >= 500 ? 'unknown' : 'refused', status, body: text }
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as { code?: string }
      return { answer: code === 'ECONNREFUSED' ? 'not_sent' : 'unknown', status: null, body: undefined }
    }
  }

  const note = (what: Wanted, at: number, tries: number, told: Told, jobId: string | null): number =>
    sends.push({
      ...{ send: what.send, tenant: what.tenant.id, connector: what.connector, script: what.script },
      ...{ keyed: what.keyed, batch: what.batch, callback: 'callback' in what.body, at, tries, jobId },
      answer: told.answer,
      status: told.status,
      answeredAt: told.answer === 'accepted' ? Date.now() : null,
      cancel: null,
    }) - 1

  const cancel = async (at: number, { tenant, cancelAfterMs }: Wanted): Promise<void> => {
    const send = sends[at]
    if (cancelAfterMs === undefined || send?.jobId == null) return
    await delay(cancelAfterMs)
    const { status } = await post(tenant, `/jobs/${send.jobId}/cancel`, { reason: 'torture' })
    sends[at] = { ...send, cancel: status ?? 0 }
  }

  const submit = async (what: Wanted): Promise<Send | undefined> => {
    const at = Date.now()
    let told: Told = { answer: 'not_sent', status: null, body: undefined }
    let tries = 0
    /** One try without an answer may have stored the job, whatever the later ones say. */
    let uncertain = false
    while (told.answer !== 'accepted' && Date.now() < giveUpAt) {
      if (tries > 0) await delay(random.between(100, 600))
      told = await post(what.tenant, '/jobs', what.body, what.keyed ? what.send : undefined)
      tries += 1
      uncertain ||= told.answer === 'unknown'
      // Without a key it is safe to ask again only when nothing was sent.
      if (told.answer === 'refused' || (told.answer === 'unknown' && !what.keyed)) break
      if (tries >= what.patience && told.answer !== 'not_sent') break
    }
    if (told.answer !== 'accepted' && uncertain) told = { ...told, answer: 'unknown' }
    const jobId = (told.body as { job_id?: string } | undefined)?.job_id ?? null
    const noted = note(what, at, tries, told, jobId)
    await cancel(noted, what)
    return sends[noted]
  }

  const bait = async (workMs: number): Promise<Bait> => {
    const tenant = tenants.find(({ capped }) => !capped) ?? random.pick(tenants)
    count += 1
    const send = `s${count}`
    const [connector = ''] = tenant.connectors
    const input = { send, work_ms: workMs, script: 'ok' }
    // A fifth of every worker is kept for this queue: it starts also when all other places are taken.
    const body = { connector, operation: 'effect', input, queue: 'critical', priority: 1, metadata: { send } }
    const sent = await submit({
      ...{ send, tenant, connector, script: 'ok', keyed: true, batch: null, body },
      ...{ patience: Infinity, cancelAfterMs: undefined },
    })
    if (sent?.jobId == null) throw new Error(`${send} was not accepted: ${sent?.answer} ${sent?.status}`)
    return { send, jobId: sent.jobId }
  }

  const submitBatch = async (): Promise<void> => {
    count += 1
    const batch = `b${count}`
    const first = wanted(batch)
    const all = [first]
    const size = random.whole(2, 6)
    while (all.length < size) {
      const next = wanted(batch)
      // A batch is of one workspace: the first one's.
      const connector = random.pick(first.tenant.connectors)
      all.push({ ...next, tenant: first.tenant, connector, body: { ...next.body, connector } })
    }
    const at = Date.now()
    const told = await post(first.tenant, '/jobs/batch', { jobs: all.map(({ body }) => body) })
    const { jobs } = (told.body ?? {}) as { jobs?: { job_id: string }[] }
    for (const [index, what] of all.entries()) note(what, at, 1, told, jobs?.[index]?.job_id ?? null)
  }

  const begin = (work: Promise<unknown>): void => {
    const task = work.then(() => undefined).finally(() => open.delete(task))
    open.add(task)
  }

  const pace = async (): Promise<void> => {
    while (!stopping) {
      // A hub that does not answer must not make us pile up requests.
      if (open.size < MOST_OPEN) begin(random.chance(0.03) ? submitBatch() : submit(wanted(null)))
      await delay((1_000 / options.ratePerSecond) * random.between(0.5, 1.5))
    }
  }
  const pacing = pace()

  return {
    sends,
    get asked() {
      return count
    },
    bait,
    stop: async (patienceMs = LAST_WORDS_MS) => {
      stopping = true
      giveUpAt = Date.now() + patienceMs
      await pacing
      await Promise.all(open)
    },
  }
}
