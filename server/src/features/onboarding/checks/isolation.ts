import { randomUUID } from 'node:crypto'
import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import { type PlaneAnswer, type PlaneClient, told } from '../plane-client.ts'
import { everything } from '../plane-documents.ts'
import { part, type Stage } from '../stage.ts'
import { CONNECTORS, secretNamesOf, UNKNOWN } from '../stage-names.ts'
import { mustBe, passed } from '../verdict.ts'

const MEND = 'This is a fault of the hub itself: take it out of use and report it.'

/** The answer without what differs between any two calls. */
const bare = ({ status, body }: PlaneAnswer): string => {
  const { instance: _instance, request_id: _request, trace_id: _trace, ...rest } = body
  return JSON.stringify({ status, rest })
}

/** Another workspace's object must look exactly as one that does not exist. */
async function looksMissing(plane: PlaneClient, path: (id: string) => string, id: string): Promise<void> {
  const [theirs, nobodys] = [await plane.call(path(id)), await plane.call(path(randomUUID()))]
  mustBe(
    theirs.status === 404 && bare(theirs) === bare(nobodys),
    `${path(':id')} of this workspace answered ${theirs.status} to a token of another one.`,
  )
}

export const events: Check = {
  name: 'isolation-events',
  proves: 'No other workspace sees the jobs, events and webhooks of this one.',
  mend: MEND,
  needs: ['neighbour', 'polling'],
  run: async (stage) => {
    const { exec, control } = part(stage, 'neighbour')
    const { jobId = '', traceId = '', webhook } = stage.trail
    for (const plane of [exec, control]) {
      await looksMissing(plane, (id) => `/jobs/${id}`, jobId)
      for (const filter of [`trace_id=${traceId}`, `job_id=${jobId}`]) {
        const { data } = await plane.want<{ data: unknown[] }>(`/events?${filter}&limit=10`)
        mustBe(data.length === 0, `A token of another workspace reads ${data.length} events by ${filter}.`)
      }
    }
    const inbox = await control.want<{ data: { id: string }[] }>('/webhook-inbox?limit=50')
    mustBe(
      !inbox.data.some(({ id }) => id === webhook?.inboxId),
      'The webhook of this workspace stands in the inbox of another one.',
    )
    const own = await stage.control.want<{ data: unknown[] }>(`/events?job_id=${jobId}&limit=10`)
    mustBe(
      own.data.length > 0,
      'This workspace does not see its own events.',
      'See whether events are written.',
    )
    return passed('404 as for a missing job, no event by job or by trace, on both planes')
  },
}

export const secrets: Check = {
  name: 'isolation-secrets',
  proves: 'No other workspace sees or uses the secrets and connectors of this one.',
  mend: MEND,
  needs: ['neighbour', 'stage'],
  run: async (stage) => {
    const { control, exec } = part(stage, 'neighbour')
    const own = (await everything<{ name: string }>(stage.control, '/secret-refs')).map(({ name }) => name)
    const theirs = new Set(
      (await everything<{ name: string }>(control, '/secret-refs')).map(({ name }) => name),
    )
    const seen = own.filter((name) => theirs.has(name))
    mustBe(seen.length === 0, `Another workspace lists the secret refs ${seen.join(', ')}.`)
    const { signing } = secretNamesOf(stage.runId)
    mustBe(own.includes(signing), 'This workspace does not list its own secret refs.', 'GET /secret-refs.')
    const read = await control.call(`/secret-refs/${signing}`)
    const none = await control.call(`/secret-refs/${UNKNOWN}`)
    mustBe(
      read.status === 404 && bare(read) === bare(none),
      `A secret ref of this workspace answered ${read.status} to another one.`,
    )
    // Exactly what a name says that nobody has: no refusal for another reason, and no word that it exists.
    const [called, unknown] = [await lookAt(exec, CONNECTORS.plain), await lookAt(exec, UNKNOWN)]
    mustBe(
      called.status === 404 && bare(called) === bare(unknown),
      `Another workspace called a connector of this one: ${called.status} ${told(called.body)}`,
    )
    return passed(
      `${own.length} secret refs seen by nobody else; its connectors cannot be called from outside`,
    )
  },
}

const lookAt = (exec: PlaneClient, connector: string): Promise<PlaneAnswer> =>
  exec.call('/execute', { body: { connector, operation: 'look', input: {} } })

const call = (exec: PlaneClient, stage: Stage) =>
  exec.call('/execute', {
    body: { connector: CONNECTORS.few, operation: 'look', input: { mark: stage.runId } },
  })

/** More calls at once than the rule has permits. */
const BURST = 10

export const limits: Check = {
  name: 'isolation-limits',
  proves: 'A workspace that has used its limits up costs no other one a call.',
  mend: MEND,
  needs: ['neighbour', 'exec', 'stage'],
  run: async (stage) => {
    const { exec } = part(stage, 'neighbour')
    const { clock, signal } = stage
    // Known to exec first, so that the calls that count are only these.
    await eventually(
      { clock, signal, withinMs: 10_000 },
      'The neighbour could not call its connector',
      async () => {
        const answer = await call(exec, stage)
        return answer.status === 200 ? { found: true } : { seen: `${answer.status} ${told(answer.body)}` }
      },
    )
    const burst = await Promise.all(Array.from({ length: BURST }, () => call(part(stage, 'exec'), stage)))
    const refused = burst.filter(({ status }) => status === 429).length
    mustBe(
      refused > 0,
      `${BURST} calls at once passed a limit of four: ${burst.map(({ status }) => status).join(', ')}.`,
      'See `rate_limits` of the policy `default`, and whether several exec processes run without REDIS_URL.',
    )
    const theirs = await call(exec, stage)
    mustBe(
      theirs.status === 200,
      `With the limit of this workspace used up, another one was answered ${theirs.status} ${told(theirs.body)}`,
    )
    return passed(`${refused} of ${BURST} calls refused here, and the neighbour’s next call passed`)
  },
}
