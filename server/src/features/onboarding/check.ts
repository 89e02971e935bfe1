import type { Stage } from './stage.ts'
import type { Verdict } from './verdict.ts'

/** What a check needs of the hub beside control, in the words of the lines that say whether it is there. */
export type Need =
  | 'exec'
  | 'policy'
  | 'clean'
  | 'secrets'
  | 'ingress'
  | 'worker'
  | 'tokens'
  | 'target'
  | 'stage'
  | 'neighbour'
  | 'webhook'
  | 'polling'

/** One line of the checklist. */
export interface Check {
  /** Stable: automation may look for it. */
  readonly name: string
  /** What it proves, one sentence. */
  readonly proves: string
  /** What to do when it fails, unless the failure knows better. */
  readonly mend: string
  readonly needs?: readonly Need[]
  /** Others that need this one to have passed find it under this word. */
  readonly gives?: Need
  /** Throws `NotShown` when it is not so. */
  run(stage: Stage): Promise<Verdict>
}

export interface Line {
  readonly name: string
  readonly proves: string
  readonly status: 'passed' | 'failed' | 'not_applicable'
  /** What was seen, what is wrong, or why it does not apply. */
  readonly detail: string
  /** What to do; only when it failed. */
  readonly mend: string | null
  readonly duration_ms: number
}
