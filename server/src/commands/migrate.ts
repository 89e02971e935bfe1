import { loadConfig } from '../config.ts'
import { migrate } from '../platform/db/migrate.ts'
import { createLog } from '../platform/log.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { type Command, print } from './command.ts'

/** Brings the database of `DATABASE_URL` to the schema of this version, as `DATABASE_OWNER_URL` when there is one. */
export const migrateCommand: Command = {
  name: 'migrate',
  usage: 'migrate',
  summary: 'Bring the database of DATABASE_URL to the schema of this version',
  run: async () => {
    const config = loadConfig()
    if (config.databaseOwnerUrl === undefined)
      throw new StartRefused(
        'DATABASE_URL is not set. The embedded database is migrated by `orchestrator start` itself.',
      )
    const { applied } = await migrate({ url: config.databaseOwnerUrl, log: createLog('migrate', 'warn') })
    print(
      applied.length === 0
        ? 'The schema is up to date.'
        : `Applied:\n${applied.map((file) => `  ${file}`).join('\n')}`,
    )
    return 0
  },
}
