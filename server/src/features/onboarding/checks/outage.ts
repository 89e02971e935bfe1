import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import type { PlaneAnswer } from '../plane-client.ts'
import { part, type Stage } from '../stage.ts'
import { CONNECTORS } from '../stage-names.ts'
import { HASTY_ATTEMPT_MS } from '../stage-objects.ts'
import { mustBe, notApplicable, passed } from '../verdict.ts'

interface Effective {
  readonly policy: {
    readonly retry: { readonly max_attempts: number }
    readonly breaker: { readonly mode: string; readonly consecutive_failures: number }
  }
}
interface Failed {
  readonly code: string
  readonly attempts?: number
}

/** An upstream that hangs does not open a breaker faster than this; with more calls asked for it is a fault. */
const MAX_CALLS = 30
const MAX_MS = 30_000
const AGAIN_WITHIN_MS = 10_000

const hang = (stage: Stage): Promise<PlaneAnswer<Failed>> =>
  part(stage, 'exec').call<Failed>('/execute', {
    body: { connector: CONNECTORS.hasty, operation: 'wait', input: {} },
  })

/** How many calls it took, 0 = it never came; and how the last one ended. */
async function untilRefused(stage: Stage): Promise<{ readonly calls: number; readonly last: string }> {
  let last = 'no call'
  const until = stage.clock.monotonic() + MAX_MS
  for (let calls = 1; calls <= MAX_CALLS && stage.clock.monotonic() < until; calls += 1) {
    const { status, body, headers } = await hang(stage)
    last = `${status} ${body.code}`
    if (body.code === 'circuit_open') return { calls, last }
    // The policy's own limits may be tight: what they ask for is done.
    if (status === 429) await stage.clock.sleep(Number(headers.get('retry-after') ?? 1) * 1_000, stage.signal)
  }
  return { calls: 0, last }
}

export const outage: Check = {
  name: 'timeout-retry-breaker',
  proves:
    'An upstream that hangs is given up in time, tried again, and then left alone by the circuit breaker.',
  mend: 'See `retry` and `breaker` of the policy `default`: GET /policies/effective?connector=… tells where each value comes from.',
  needs: ['exec', 'stage'],
  run: async (stage) => {
    const { policy } = await stage.control.want<Effective>(
      `/policies/effective?connector=${CONNECTORS.hasty}`,
    )
    const { retry, breaker } = policy
    if (breaker.mode !== 'enforce')
      return notApplicable(`The workspace’s policy has the breaker on \`${breaker.mode}\`.`)
    const target = part(stage, 'target')
    const mayRepeat = retry.max_attempts > 1 && breaker.consecutive_failures > 1
    // Exec may hear a moment late that the breaker which an earlier run has opened is closed again.
    const { first, attempts } = await eventually(
      { clock: stage.clock, signal: stage.signal, withinMs: AGAIN_WITHIN_MS, everyMs: 1_000 },
      mayRepeat
        ? `A call that hangs was not tried again, though the policy allows ${retry.max_attempts} attempts,`
        : 'A call that hangs did not reach the upstream',
      async () => {
        const before = (await target.seen('slow')).length
        const answer = await hang(stage)
        const made = (await target.seen('slow')).length - before
        if (made > (mayRepeat ? 1 : 0)) return { found: { first: answer, attempts: made } }
        return { seen: `${made} attempts, then ${answer.status} ${answer.body.code}` }
      },
    )
    // From here on it must open by itself.
    await stage.control.call(`/breakers/${CONNECTORS.hasty}/release`, { body: { reason: stage.reason } })
    mustBe(
      ['upstream_timeout', 'circuit_open'].includes(first.body.code),
      `A call that hangs ended with ${first.status} ${first.body.code}.`,
    )
    const { calls, last } =
      first.body.code === 'circuit_open' ? { calls: 1, last: '' } : await untilRefused(stage)
    mustBe(
      calls > 0,
      `The breaker did not open in ${MAX_CALLS} calls or ${MAX_MS / 1_000} s of an upstream that hangs; the last call ended with ${last}.`,
    )
    const before = (await target.seen('slow')).length
    const refused = await hang(stage)
    const after = (await target.seen('slow')).length
    mustBe(
      refused.status === 503 && refused.body.code === 'circuit_open' && after === before,
      `With the breaker open a call still ended with ${refused.status} ${refused.body.code}.`,
    )
    return passed(
      `given up after ${HASTY_ATTEMPT_MS} ms, ${attempts} attempts in the first call; open after ${before} failed attempts, then refused without a call`,
    )
  },
}
