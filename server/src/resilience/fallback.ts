import { CallFailure } from './failure.ts'
import type { CallResult, StageOf } from './pipeline.ts'
import type { ResponseCache } from './response-cache.ts'

/** What is answered instead of a failure: the last good answer, or one that the policy names. */
export type Fallback =
  | {
      readonly type: 'stale'
      readonly cache: ResponseCache
      readonly key: string
      readonly maxStaleMs: number
    }
  | { readonly type: 'static'; readonly output: unknown }

/**
 * Answers for an upstream that cannot, and says so (`servedFrom`). For safe operations only, and only when the
 * caller is not to blame: what the upstream rejects stays rejected. `onFallback` hears of the failure behind it.
 */
export function fallback(
  options: Fallback & { readonly onFallback?: (failure: CallFailure) => void },
): StageOf<CallResult> {
  return async (scope, next) => {
    try {
      return await next(scope)
    } catch (error) {
      if (!(error instanceof CallFailure) || !mayBeReplaced(error)) throw error
      const instead = answerOf(options)
      if (instead === undefined) throw error
      options.onFallback?.(error)
      return instead
    }
  }
}

function answerOf(options: Fallback): CallResult | undefined {
  if (options.type === 'static') return { output: options.output, httpStatus: null, servedFrom: 'static' }
  const found = options.cache.find(options.key, options.maxStaleMs)
  return found && { ...found, servedFrom: 'stale' }
}

/** A permanent failure is the caller's or the config's, unless the upstream answered and its answer is unusable. */
function mayBeReplaced({ class: failureClass, kind, httpStatus }: CallFailure): boolean {
  if (kind === 'aborted') return false
  if (failureClass !== 'permanent') return true
  return httpStatus !== undefined && (httpStatus < 300 || httpStatus >= 500)
}
