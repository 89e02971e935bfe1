import type { Check } from '../check.ts'
import { part } from '../stage.ts'
import { notApplicable, passed } from '../verdict.ts'

/** A line of its own: what an earlier run has left keeps nobody from hearing about the rest. */
export const leftovers: Check = {
  name: 'earlier-runs',
  proves: 'Nothing of an earlier verification is left in the workspace.',
  mend: 'See what the hub has refused, and mend what the refusal names.',
  gives: 'clean',
  run: async (stage) => {
    await stage.sweep()
    return passed('nothing is left of them')
  },
}

/** Calls must fail on purpose, and never at the product's real upstreams. */
export const target: Check = {
  name: 'fault-target',
  proves: 'There is an upstream that fails as it is told to, and the hub may call it.',
  mend: 'Run `orchestrator onboard target` where exec and worker can reach it, and name it: --target URL or VERIFY_TARGET_URL.',
  gives: 'target',
  run: async (stage) => {
    const why = await stage.openTarget()
    if (why !== undefined) return notApplicable(why)
    return passed(part(stage, 'target').baseUrl.replace(/\/runs\/.*$/, ''))
  },
}

export const stageObjects: Check = {
  name: 'temporary-objects',
  proves: 'What the checks need can be added beside the product’s own objects.',
  mend: 'Mend what the hub has refused.',
  // A config whose secrets do not resolve is not activated, whoever adds to it.
  needs: ['clean', 'secrets', 'target', 'tokens'],
  gives: 'stage',
  run: async (stage) => {
    await stage.addObjects()
    return passed('connectors, policies, secrets and a webhook route of the run, all named orch-verify-…')
  },
}

export const neighbour: Check = {
  name: 'neighbour',
  proves: 'There is another workspace to hold this one against.',
  mend: 'See what the hub has refused; resume the neighbour if somebody has changed it.',
  needs: ['stage', 'exec'],
  gives: 'neighbour',
  run: async (stage) => {
    await stage.enterNeighbour()
    return passed(part(stage, 'neighbour').slug)
  },
}
