import { expect, test } from 'vitest'
import { manualClock } from '../../../testing/manual-clock.ts'
import { createMemoryStore } from '../../resilience/stores/memory.ts'
import { effectivePolicy } from '../policies/policies.ts'
import { rateRules } from './rate-rules.ts'

test('executions that take all they can get do not keep jobs from a limit that both share', async () => {
  const clock = manualClock()
  const store = createMemoryStore({ clock })
  const { policy } = effectivePolicy({
    workspace: { rate_limits: { workspace: null, connector: { permits: 10, burst: 20 } } },
  })
  const rulesOf = (ofJob: boolean) => rateRules(policy, { connector: 'api', operation: 'get', ofJob })
  const passes = (ofJob: boolean) => store.charge('acme', rulesOf(ofJob)).allowed
  let executions = 0
  let jobs = 0
  // 40 executions a second; a job that is refused comes back after a second's rest, and they go on until the next refusal.
  for (let tick = 0; tick < 40 * 16; tick += 1) {
    if (passes(false)) executions += 1
    if (tick % 40 === 39) while (jobs < 20 && passes(true)) jobs += 1
    await clock.advance(25)
  }
  expect(jobs).toBe(20)
  // Together they get what the limit gives, and not more.
  expect(executions + jobs).toBeGreaterThan(10 * 16)
  expect(executions + jobs).toBeLessThanOrEqual(10 * 16 + 20)
})
