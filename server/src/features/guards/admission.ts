import { Problem } from '../../problems.ts'
import type { LoadShed, Work } from '../../resilience/load-shed.ts'
import type { Policy } from '../policies/policies.ts'
import type { GuardMetrics } from './guard-metrics.ts'

const NAMES: Readonly<Record<Work, string>> = {
  low: 'calls and jobs of priority low',
  default: 'calls and jobs of priority default',
  critical: 'even critical calls and jobs',
  read: 'questions',
  ingress: 'even webhooks',
}

/** Refuses work that an overloaded process does not take. Errors: `overloaded`. */
export function admit(loadShed: LoadShed, work: Work): void {
  if (!loadShed.takes(work)) throw overloaded(loadShed, work)
}

/** The same by the priority of a policy. Errors: `overloaded`. */
export function admitCall(
  loadShed: LoadShed,
  { load_shedding: { priority, mode } }: Policy,
  metrics: GuardMetrics,
): void {
  if (!loadShed.takes(priority, mode, metrics.wouldHave)) throw overloaded(loadShed, priority)
}

const overloaded = ({ retryAfterMs }: LoadShed, work: Work): Problem =>
  new Problem('overloaded', `The process has too much to do and refuses ${NAMES[work]}.`, {
    retryAfterSeconds: retryAfterMs / 1_000,
  })
