/** What the onboarding checklist works with in the control process. Wiring only. */
import type { Config } from '../config.ts'
import {
  createSearchText,
  createVerifications,
  type Verifications,
} from '../features/onboarding/onboarding.ts'
import type { Dial } from '../platform/dial/dial.ts'
import type { Platform } from '../platform/platform.ts'
import { logFileOf } from './log-file.ts'
import type { ProcessSecrets } from './outbound.ts'

export { startFaultTarget as serveFaultTarget } from '../features/onboarding/onboarding.ts'

const keptOf = ({ keepDays }: Config): string =>
  `jobs ${keepDays.jobs} days, dead letters ${keepDays.dead_letters}, events ${keepDays.events}, ` +
  `request log ${keepDays.request_log}, webhooks ${keepDays.webhook_inbox}`

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
    // Without a database of its own it is one process with all roles.
    search: createSearchText({ db, clock, logFile: logFileOf(config, 'all') }),
    readRef: secrets.readRef,
  })
}
