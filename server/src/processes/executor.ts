/** Executions, with what they leave behind: for callers in exec, and for repeating unknown ones in worker. Wiring only. */
import { createEventHints } from '../features/events/events.ts'
import {
  createExecutionKeys,
  createExecutor,
  createRequestLog,
  type ExecuteDeps,
  type ExecutionKeys,
  type Executor,
  type RequestLog,
} from '../features/execute/execute.ts'
import type { Platform } from '../platform/platform.ts'

export interface OpenExecutor {
  readonly executor: Executor
  readonly keys: ExecutionKeys
  readonly requestLog: RequestLog
}

export function openExecutor(
  platform: Platform,
  calls: Omit<ExecuteDeps, 'platform' | 'requestLog' | 'keys'>,
): OpenExecutor {
  const { db, log } = platform
  const requestLog = createRequestLog({ ...platform, onWritten: createEventHints(db, log) })
  const keys = createExecutionKeys(platform)
  return { executor: createExecutor({ ...calls, platform, requestLog, keys }), keys, requestLog }
}
