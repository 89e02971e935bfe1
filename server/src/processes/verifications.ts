/** What the onboarding checklist works with in the control process. Wiring only. */
import { join } from 'node:path'
import type { Config } from '../config.ts'
import {
  createSearchText,
  createVerifications,
  type Verifications,
} from '../features/onboarding/onboarding.ts'
import type { Dial } from '../platform/dial/dial.ts'
import type { Platform } from '../platform/platform.ts'
import type { ProcessSecrets } from './outbound.ts'

export { startFaultTarget as serveFaultTarget } from '../features/onboarding/onboarding.ts'

/** The same rule as `commands/log-destination.ts`; undefined for standard output. */
function logFileOf({ logFile, databaseUrl, dataDir }: Config): string | undefined {
  if (logFile !== undefined) return logFile === '-' ? undefined : logFile
  return databaseUrl === undefined ? join(dataDir, 'logs', 'orchestrator.log') : undefined
}

const keptOf = ({ keepDays }: Config): string =>
  `jobs ${keepDays.jobs} days, dead letters ${keepDays.deadLetters}, events ${keepDays.events}, ` +
  `request log ${keepDays.requestLog}, webhooks ${keepDays.webhookInbox}`

export function openVerifications(
  config: Config,
  platform: Platform,
  { dial, secrets }: { readonly dial: Dial; readonly secrets: Pick<ProcessSecrets, 'readRef'> },
): Verifications {
  const { db, clock, log } = platform
  return createVerifications({
    ...{ db, clock, log, dial },
    urls: config.urls,
    environment: config.environment,
    kept: keptOf(config),
    search: createSearchText({ db, clock, logFile: logFileOf(config) }),
    readRef: secrets.readRef,
  })
}
