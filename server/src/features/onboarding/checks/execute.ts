import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import { told } from '../plane-client.ts'
import { part, type Stage } from '../stage.ts'
import { CONNECTORS } from '../stage-names.ts'
import { mustBe, passed } from '../verdict.ts'

interface Executed {
  readonly status: string
  readonly output: { readonly ok?: boolean; readonly took?: string }
  readonly upstream: { readonly http_status: number | null }
  readonly idempotency: { readonly replayed: boolean }
  readonly trace_id: string
}

/** The first call of a run: exec may hear of the new config a moment after control has written it. */
async function firstCall(stage: Stage): Promise<Executed> {
  const { clock, signal } = stage
  return eventually({ clock, signal, withinMs: 10_000 }, 'POST /execute gave no result', async () => {
    const answer = await part(stage, 'exec').call<Executed>('/execute', {
      body: { connector: CONNECTORS.plain, operation: 'look', input: { mark: stage.runId } },
    })
    return answer.status === 200 ? { found: answer.body } : { seen: `${answer.status} ${told(answer.body)}` }
  })
}

export const execute: Check = {
  name: 'execute',
  proves:
    'A call goes through the workspace’s default policy to an upstream and back, and a repeated one has one effect.',
  mend: 'See what `/execute` answered; exec must reach the fault-injecting target (VERIFY_TARGET_URL).',
  needs: ['exec', 'stage'],
  run: async (stage) => {
    const first = await firstCall(stage)
    mustBe(
      first.output.ok === true && first.upstream.http_status === 200,
      `The output is not the upstream’s: ${JSON.stringify(first.output)}.`,
    )
    const call = {
      body: { connector: CONNECTORS.plain, operation: 'take', input: { mark: stage.runId } },
      headers: { 'idempotency-key': `verify/${stage.runId}` },
    }
    const once = await part(stage, 'exec').want<Executed>('/execute', call)
    const again = await part(stage, 'exec').want<Executed>('/execute', call)
    const effects = await part(stage, 'target').seen('take')
    mustBe(
      !once.idempotency.replayed && again.idempotency.replayed && effects.length === 1,
      `Two calls with one Idempotency-Key had ${effects.length} effects.`,
    )
    return passed(`200 from the upstream; two calls with one key had one effect; trace ${first.trace_id}`)
  },
}
