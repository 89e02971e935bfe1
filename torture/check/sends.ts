import type { Send } from '../history.ts'
import type { Ledger } from './ledger.ts'

export interface SendFigures {
  readonly sent: number
  /** Answered with 202. */
  readonly accepted: number
  readonly refused: number
  /** No answer, or a 5xx: the client cannot know. `stored` of them became jobs. */
  readonly unknown: { readonly all: number; readonly stored: number }
  readonly notSent: number
  /** Requests, repeated ones included. */
  readonly tries: number
}

export interface SendFindings {
  readonly figures: SendFigures
  readonly lost: string[]
  readonly doubled: string[]
  readonly unasked: string[]
  readonly torn: string[]
}

/** What clients were told against what is stored: promises kept, nothing twice, nothing that was refused. */
export function checkSends(ledger: Ledger): SendFindings {
  const { sends, tables } = ledger.history
  const known = new Map(tables.jobs.map((job) => [job.id, job]))
  const places = new Set(tables.places.map(({ job }) => job))
  const dead = new Set(tables.dead.map(({ job }) => job))
  const lost: string[] = []
  const doubled: string[] = []
  const unasked: string[] = []

  const lossOf = ({ jobId }: Send): string | undefined => {
    const job = jobId === null ? undefined : known.get(jobId)
    if (job === undefined) return 'no such job'
    if (job.state === 'queued' && !places.has(job.id)) return 'neither ended nor waiting nor running'
    if (job.state === 'dead' && !dead.has(job.id)) return 'dead without a dead letter'
    return undefined
  }

  for (const send of sends) {
    const jobs = ledger.jobsOfSend(send.send)
    const names = jobs.map(({ id }) => id).join(', ')
    if (send.answer === 'accepted') {
      const loss = lossOf(send)
      if (loss) lost.push(`${send.send}: 202 for job ${send.jobId}, and now ${loss}`)
      if (jobs.length === 1 && jobs[0]?.id !== send.jobId)
        doubled.push(`${send.send}: 202 for job ${send.jobId}, but stored as ${names}`)
    }
    if (jobs.length > 1) doubled.push(`${send.send}: ${jobs.length} jobs (${names})`)
    if ((send.answer === 'refused' || send.answer === 'not_sent') && jobs.length > 0)
      unasked.push(`${send.send}: ${send.answer} (${send.status}), but stored as ${names}`)
  }

  const of = (answer: Send['answer']) => sends.filter((send) => send.answer === answer)
  return {
    figures: {
      sent: sends.length,
      accepted: of('accepted').length,
      refused: of('refused').length,
      unknown: {
        all: of('unknown').length,
        stored: of('unknown').filter(({ send }) => ledger.jobsOfSend(send).length > 0).length,
      },
      notSent: of('not_sent').length,
      tries: sends.reduce((sum, { tries }) => sum + tries, 0),
    },
    lost,
    doubled,
    unasked,
    torn: tornBatches(ledger),
  }
}

/** A batch is one transaction: all of its jobs are there or none is. */
function tornBatches(ledger: Ledger): string[] {
  const batches = new Map<string, { all: number; stored: number }>()
  for (const { batch, send } of ledger.history.sends) {
    if (batch === null) continue
    const count = batches.get(batch) ?? { all: 0, stored: 0 }
    count.all += 1
    if (ledger.jobsOfSend(send).length > 0) count.stored += 1
    batches.set(batch, count)
  }
  return [...batches].flatMap(([batch, { all, stored }]) =>
    stored === 0 || stored === all ? [] : [`${batch}: ${stored} of ${all} jobs are stored`],
  )
}
