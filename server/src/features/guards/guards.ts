/**
 * The door of the guards feature: what stands between a call and its upstream, for executions and for attempts of
 * jobs alike (docs/decisions/0014).
 *
 * The rules are pure and stand in `resilience/`; a policy says which of them apply. This feature holds their memory,
 * once per Node process, and turns a policy into stages. Invariants. A call that a rule refuses has sent nothing, and
 * says so (`CallFailure.refusedBy`). A rule in shadow mode never changes an answer: it is counted as what it would
 * have done.
 */
export { admit, admitCall } from './admission.ts'
export { answerStages, type SafeCall } from './answer-stages.ts'
export { createGuards, type Guards } from './guard-memory.ts'
export { createGuardMetrics, type GuardMetrics } from './guard-metrics.ts'
export {
  budgetOf,
  circuitStage,
  type GuardedCall,
  limitStage,
  permitsOf,
  placeStage,
} from './guard-stages.ts'
export { rateRules } from './rate-rules.ts'
