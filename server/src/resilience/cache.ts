import type { CallResult, StageOf } from './pipeline.ts'
import type { ResponseCache } from './response-cache.ts'

export interface CacheOptions {
  readonly cache: ResponseCache
  readonly key: string
  /** How long an answer serves other calls; 0: it does not. */
  readonly ttlMs: number
  /** How old an answer may be that a fallback gives; 0 where there is none. */
  readonly maxStaleMs: number
}

/** Answers from memory while an answer is fresh, and keeps new ones, also for the fallback. For safe operations only. */
export function cache(options: CacheOptions): StageOf<CallResult> {
  const { cache: kept, key, ttlMs, maxStaleMs } = options
  const keepMs = Math.max(ttlMs, maxStaleMs)
  return async (scope, next) => {
    const found = ttlMs > 0 ? kept.find(key, ttlMs) : undefined
    if (found) return { ...found, servedFrom: 'cache' }
    const result = await next(scope)
    const fromUpstream = result.servedFrom === undefined || result.servedFrom === 'upstream'
    if (fromUpstream && keepMs > 0) kept.keep(key, result, keepMs)
    return result
  }
}
