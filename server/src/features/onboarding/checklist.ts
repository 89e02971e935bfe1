import type { Check } from './check.ts'
import { connectors, connectorsCallable } from './checks/connectors.ts'
import { defaultPolicy } from './checks/default-policy.ts'
import { execute } from './checks/execute.ts'
import * as isolation from './checks/isolation.ts'
import { deadLetters, polling } from './checks/jobs.ts'
import { outage } from './checks/outage.ts'
import * as preparations from './checks/preparations.ts'
import * as processes from './checks/processes.ts'
import { retention } from './checks/retention.ts'
import * as secrets from './checks/secrets.ts'
import { tokens } from './checks/tokens.ts'
import { duplicate, routing, webhook } from './checks/webhook.ts'

/** The onboarding checklist in its order: what later lines need comes before them. */
export const CHECKLIST: readonly Check[] = [
  preparations.leftovers,
  processes.exec,
  processes.ingress,
  processes.worker,
  defaultPolicy,
  connectors,
  secrets.secretsResolve,
  retention,
  tokens,
  connectorsCallable,
  preparations.target,
  preparations.stageObjects,
  execute,
  outage,
  webhook,
  duplicate,
  routing,
  polling,
  deadLetters,
  preparations.neighbour,
  isolation.events,
  isolation.secrets,
  isolation.limits,
  // Last, so that what the run itself has written is looked through as well.
  secrets.secretsNotInDatabase,
  secrets.secretsNotInLog,
]
