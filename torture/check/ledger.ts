import type { AttemptRow, Disturbance, History, JobRow, SinkRequest, Trouble } from '../history.ts'

/** The sink and the database read the same clock, but the sink only to the millisecond. */
export const CLOCK_MS = 5

/** The history with ways to look things up. */
export interface Ledger {
  readonly history: History
  jobsOfSend(send: string): readonly JobRow[]
  /** The jobs that tell of the end of this job. */
  callbacksOf(job: string): readonly JobRow[]
  /** In the order in which they started. */
  attemptsOf(job: string): readonly AttemptRow[]
  /** In the order in which they arrived. */
  requestsOf(job: string): readonly SinkRequest[]
  /** The attempt that this request was sent by, if its time and its token say so. */
  attemptOf(job: string, request: SinkRequest): AttemptRow | undefined
  processOf(node: string): string
  /** What was done to a process, to its links, or to everything, in this time. */
  troublesOf(process: string, from: number, to: number): readonly Trouble[]
}

const grouped = <Item>(items: readonly Item[], keyOf: (item: Item) => string | null): Map<string, Item[]> => {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const key = keyOf(item)
    if (key === null) continue
    const group = groups.get(key)
    if (group) group.push(item)
    else groups.set(key, [item])
  }
  return groups
}

/** Links and servers that every worker depends on. */
const OF_ALL: Readonly<Record<string, true>> = { database: true, 'workers>sink': true }

export function openLedger(history: History): Ledger {
  const { tables } = history
  const bySend = grouped(tables.jobs, ({ send }) => send)
  const byParent = grouped(tables.jobs, ({ callback_of }) => callback_of)
  const attempts = grouped(
    [...tables.attempts].sort((a, b) => a.started - b.started),
    ({ job }) => job,
  )
  const arrived = [...history.requests].sort((a, b) => a.start - b.start)
  const jobOf = ({ about, callback, key }: SinkRequest): string | null => {
    const known = (callback ? byParent : bySend).get(about) ?? []
    // Two jobs for one send is a fault of its own; their requests are told apart by the key, which holds the id.
    return (known.find(({ id }) => key.includes(id)) ?? known[0])?.id ?? null
  }
  const requests = grouped(arrived, jobOf)
  const processes = new Map(history.nodes.map(({ node, process }) => [node, process]))

  const attemptsOf = (job: string) => attempts.get(job) ?? []
  const requestsOf = (job: string) => requests.get(job) ?? []
  /**
   * A worker that had lost the job may send its request while another one holds the lease. Each attempt has a token
   * of its own: that of the lease is the one whose request ended last before it, for the settlement follows at once.
   */
  const tokenOf = (job: string, attempt: AttemptRow): string | undefined => {
    const apart = ({ end, goneAt }: SinkRequest) =>
      Math.abs(Math.min(end ?? Infinity, goneAt ?? Infinity) - attempt.ended)
    const [nearest] = requestsOf(job)
      .filter((request) => isWithin(request, attempt))
      .sort((a, b) => apart(a) - apart(b))
    return nearest?.token
  }
  return {
    history,
    jobsOfSend: (send) => bySend.get(send) ?? [],
    callbacksOf: (job) => byParent.get(job) ?? [],
    attemptsOf,
    requestsOf,
    attemptOf: (job, request) =>
      attemptsOf(job).find(
        (attempt) => isWithin(request, attempt) && tokenOf(job, attempt) === request.token,
      ),
    processOf: (node) => processes.get(node) ?? `unknown node ${node}`,
    troublesOf: (process, from, to) =>
      history.troubles.filter(
        (trouble) =>
          (trouble.target === process ||
            trouble.target.startsWith(`${process}>`) ||
            OF_ALL[trouble.target]) &&
          trouble.from <= to &&
          trouble.to >= from,
      ),
  }
}

const isWithin = ({ start }: SinkRequest, { started, ended }: AttemptRow): boolean =>
  start >= started - CLOCK_MS && start <= ended + CLOCK_MS

/** What a trouble is called as the cause of a repeated effect. */
export const CAUSE_OF: Readonly<Record<Disturbance, Cause>> = {
  kill: 'kill',
  crash: 'kill',
  stop: 'stop',
  pause: 'pause',
  database_kill: 'database',
  backend_kill: 'database',
  reset: 'cut',
  cut: 'cut',
  stall: 'cut',
  deaf: 'cut',
  refuse: 'cut',
}

export type Cause = 'kill' | 'stop' | 'pause' | 'database' | 'cut' | 'lost_answer' | 'unexplained'
