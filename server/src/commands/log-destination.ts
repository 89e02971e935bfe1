import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Config } from '../config.ts'
import { createLog, type Log } from '../platform/log.ts'
import { logLines } from '../platform/log-lines.ts'
import { logFileOf } from '../processes/log-file.ts'

/** Opens the log of a process; `path` is undefined for standard output. */
export function openLog(config: Config, role: string): { log: Log; path: string | undefined } {
  const path = logFileOf(config, role)
  if (path === undefined) return { log: createLog(role, config.logLevel, logLines({ dest: 1 })), path }
  mkdirSync(dirname(path), { recursive: true })
  return { log: createLog(role, config.logLevel, logLines({ dest: path, mode: 0o600 })), path }
}
