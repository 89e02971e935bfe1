import { join } from 'node:path'
import type { Config } from '../config.ts'

/**
 * The file that the log goes to; undefined = standard output. A newcomer's terminal shows the box and not a thousand
 * JSON lines: `start all` on its own database logs to a file. Everything else runs under a supervisor that reads
 * standard output.
 */
export function logFileOf(
  { logFile, databaseUrl, dataDir }: Pick<Config, 'logFile' | 'databaseUrl' | 'dataDir'>,
  role: string,
): string | undefined {
  if (logFile !== undefined) return logFile === '-' ? undefined : logFile
  return role === 'all' && databaseUrl === undefined ? join(dataDir, 'logs', 'orchestrator.log') : undefined
}
