import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import { part, type Stage } from '../stage.ts'
import { CONNECTORS } from '../stage-names.ts'
import { mustBe, passed } from '../verdict.ts'

const ENDS_WITHIN_MS = 30_000

interface Event {
  readonly id: string
  readonly type: string
  readonly job_id: string | null
}

const submit = (stage: Stage, connector: string, operation: string) =>
  part(stage, 'exec').want<{ job_id: string; trace_id: string }>('/jobs', {
    body: { connector, operation, input: { mark: stage.runId } },
  })

const untilItIs = (stage: Stage, jobId: string, state: string): Promise<string> =>
  eventually(
    { clock: stage.clock, signal: stage.signal, withinMs: ENDS_WITHIN_MS },
    `The job did not become ${state}`,
    async () => {
      const { job } = await part(stage, 'exec').want<{ job: { state: string } }>(`/jobs/${jobId}`)
      return job.state === state ? { found: job.state } : { seen: job.state }
    },
  )

const eventsAfter = (stage: Stage, cursor: string | undefined): Promise<{ data: Event[] }> =>
  part(stage, 'exec').want(`/events?limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)

/** A product that takes no callbacks, or has missed one, reads what became of its work. */
export const polling: Check = {
  name: 'polling-fallback',
  proves:
    'Without a callback the product finds the outcome of a job by GET /jobs/:id and by reading on in /events.',
  mend: 'See whether a worker runs and the queue `default` is not paused: GET /queues.',
  needs: ['exec', 'worker', 'stage'],
  gives: 'polling',
  run: async (stage) => {
    const newest = await part(stage, 'exec').want<{ data: Event[] }>('/events?limit=1&order=desc')
    let cursor = newest.data[0]?.id
    const { job_id: jobId, trace_id: traceId } = await submit(stage, CONNECTORS.plain, 'take')
    stage.trail.jobId = jobId
    stage.trail.traceId = traceId
    await untilItIs(stage, jobId, 'done')
    const types: string[] = []
    await eventually(
      { clock: stage.clock, signal: stage.signal, withinMs: ENDS_WITHIN_MS },
      'The events after the cursor did not tell the end of the job',
      async () => {
        const { data } = await eventsAfter(stage, cursor)
        cursor = data.at(-1)?.id ?? cursor
        types.push(...data.filter((event) => event.job_id === jobId).map(({ type }) => type))
        return types.includes('job.succeeded')
          ? { found: true }
          : { seen: types.join(', ') || 'none of its events' }
      },
    )
    return passed(`GET /jobs/:id says done; /events after the cursor say ${types.join(', ')}`)
  },
}

interface Plan {
  readonly plan_id: string
  readonly state: string
  readonly count: number
}

export const deadLetters: Check = {
  name: 'dead-letters',
  proves: 'A job that fails for good ends as a dead letter, and a replay brings it to its end.',
  mend: 'See GET /dlq/default and the plan of the replay: GET /dlq/plans.',
  needs: ['exec', 'worker', 'stage'],
  run: async (stage) => {
    const { control, reason } = stage
    const { job_id: jobId } = await submit(stage, CONNECTORS.once, 'fail')
    await untilItIs(stage, jobId, 'dead')
    const letters = await control.want<{ data: { job_id: string; error: { http_status: number | null } }[] }>(
      `/dlq/default?connector=${CONNECTORS.once}&limit=200`,
    )
    const letter = letters.data.find((one) => one.job_id === jobId)
    mustBe(
      letter?.error.http_status === 503,
      'The list of dead letters does not have the job with its error.',
    )
    const told = await eventually(
      { clock: stage.clock, signal: stage.signal, withinMs: ENDS_WITHIN_MS },
      'No event told of the dead letter',
      async () => {
        const { data } = await control.want<{ data: Event[] }>(`/events?job_id=${jobId}&limit=200`)
        const types = data.map(({ type }) => type)
        return types.includes('job.dead_lettered') ? { found: types } : { seen: types.join(', ') || 'none' }
      },
    )
    await part(stage, 'target').mend()
    const plan = await control.want<Plan>('/dlq/default/plans', {
      body: { action: 'replay', ids: [jobId] },
    })
    mustBe(plan.count === 1, `The plan of the replay is about ${plan.count} letters, not one.`)
    await control.want(`/dlq/plans/${plan.plan_id}/commit`, { body: { reason } })
    await untilItIs(stage, jobId, 'done')
    return passed(`${told.join(', ')}; replayed by plan and commit, then done`)
  },
}
