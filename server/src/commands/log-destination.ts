import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '../config.ts'
import { createLog, type Log } from '../platform/log.ts'
import { logLines } from '../platform/log-lines.ts'

/**
 * Where the log goes. A newcomer's terminal shows the box and not a thousand JSON lines: `start all` on its own
 * database logs to a file. Everything else runs under a supervisor that reads standard output.
 * `path` is undefined for standard output.
 */
export function openLog(config: Config, role: string): { log: Log; path: string | undefined } {
  const alone = role === 'all' && config.databaseUrl === undefined
  const chosen = config.logFile ?? (alone ? join(config.dataDir, 'logs', 'orchestrator.log') : '-')
  if (chosen === '-') return { log: createLog(role, config.logLevel, logLines({ dest: 1 })), path: undefined }
  mkdirSync(dirname(chosen), { recursive: true })
  return { log: createLog(role, config.logLevel, logLines({ dest: chosen, mode: 0o600 })), path: chosen }
}
