import type { Check, Need } from '../check.ts'
import type { Stage } from '../stage.ts'
import { mustBe, passed } from '../verdict.ts'

const ANSWER_MS = 3_000

async function readinessOf(stage: Stage, name: 'exec' | 'ingress' | 'worker'): Promise<string> {
  const url = stage.urls[name]
  const answer = await fetch(`${url}/ready`, {
    signal: AbortSignal.any([stage.signal, AbortSignal.timeout(ANSWER_MS)]),
  }).catch(() => undefined)
  mustBe(answer !== undefined, `No ${name} process answers at ${url}.`)
  const { ready, checks = [] } = (await answer.json().catch(() => ({}))) as {
    ready?: boolean
    checks?: { name: string; ok: boolean; detail?: string }[]
  }
  const missing = checks
    .filter(({ ok }) => !ok)
    .map(({ name: what, detail }) => `${what}: ${detail ?? 'not there'}`)
  mustBe(ready === true, `The ${name} process at ${url} is not ready (${missing.join('; ')}).`)
  return `ready at ${url}`
}

const processCheck = (name: 'exec' | 'ingress' | 'worker', proves: string): Check => ({
  name: `process-${name}`,
  proves,
  mend: `Start it (\`npx orchestrator start ${name}\`), or set ${name.toUpperCase()}_URL of control to where it listens.`,
  gives: name satisfies Need,
  run: async (stage) => passed(await readinessOf(stage, name)),
})

export const exec = processCheck('exec', 'The exec process takes calls.')
export const ingress = processCheck('ingress', 'The ingress process takes webhooks.')
export const worker = processCheck('worker', 'A worker runs jobs.')
