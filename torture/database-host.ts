/**
 * A process of its own that runs the hub's embedded Postgres and brings it back when it is killed. When its input
 * ends, it stops the server and removes the folder: also after a run that was killed. Argument: the folder.
 */
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { startEmbeddedPostgres } from '../server/src/platform/embedded/embedded-postgres.ts'
import { createLog } from '../server/src/platform/log.ts'

// Ctrl-C in a terminal is for the supervisor, which ends our input.
process.on('SIGINT', () => undefined)

const home = process.argv[2] ?? ''
const say = (line: Readonly<Record<string, unknown>>) => process.stdout.write(`${JSON.stringify(line)}\n`)

try {
  const settings = { shared_buffers: '128MB' }
  const postgres = await startEmbeddedPostgres({
    dataDir: `${home}/postgres`,
    log: createLog('database', 'silent'),
    settings,
  })
  say({ url: postgres.url, adminUrl: postgres.adminUrl })
  void postgres.lost.then((error) => say({ lost: error.message }))
  await once(process.stdin.resume(), 'close')
  await postgres.stop()
} catch (error) {
  say({ failure: (error as Error).message })
} finally {
  await rm(home, { recursive: true, force: true, maxRetries: 5 })
}
