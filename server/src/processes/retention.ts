/** Retention of the command line, on the database itself. Wiring only. */
import type { Config } from '../config.ts'
import { createRetentionRun, previewRun } from '../features/retention/retention.ts'
import { systemClock } from '../platform/clock.ts'
import { createDb } from '../platform/db/db.ts'
import { createLog } from '../platform/log.ts'
import { createMetrics } from '../platform/metrics.ts'

export type { RetentionPreview } from '../features/retention/retention.ts'

export function currentRetention({ keepDays, slowQueryMs }: Config, databaseUrl: string) {
  const log = createLog('retention', 'warn')
  const metrics = createMetrics('retention', false)
  const db = createDb({
    ...{ url: databaseUrl, applicationName: 'orchestrator retention', poolSize: 2 },
    ...{ slowQueryMs, log, metrics },
  })
  return {
    preview: () => previewRun(db, keepDays),
    run: createRetentionRun({ db, log, metrics, clock: systemClock }, keepDays),
    close: () => db.close(),
  }
}
