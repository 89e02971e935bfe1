import { createExecutionKeys, type ExecutionKeys } from '../src/features/execute/execute.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import type { Platform } from '../src/platform/platform.ts'

/** The keys of one more process on a database: with metrics of its own, which can only be made once. */
export const executionKeys = (platform: Platform): ExecutionKeys =>
  createExecutionKeys({ ...platform, metrics: createMetrics('test', false) })
