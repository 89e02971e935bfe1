/**
 * A process of its own that starts the embedded Postgres, says so in one JSON line and stops it when its input
 * ends: for tests that kill such a process. Argument: the options as JSON.
 */
import { once } from 'node:events'
import { startEmbeddedPostgres } from '../src/platform/embedded/embedded-postgres.ts'
import { createLog } from '../src/platform/log.ts'

// Ctrl-C: the hub would begin its graceful stop here, for which it needs the database.
process.on('SIGINT', () => undefined)

const log = createLog('test', 'silent')
try {
  const options = JSON.parse(process.argv[2] ?? '{}')
  const postgres = await startEmbeddedPostgres({ ...options, log })
  const { pid, url, adminUrl } = postgres
  process.stdout.write(`${JSON.stringify({ pid, url, adminUrl })}\n`)
  // Without stopping anything, as after an uncaught error.
  if (options.exitAfterStart) process.exit(1)
  await once(process.stdin.resume(), 'end')
  await postgres.stop()
} catch (error) {
  process.stdout.write(`${JSON.stringify({ failure: (error as Error).message })}\n`)
}
