import type { Clock } from '../platform/clock.ts'
import { MIN_LEFT_MS, remainingMs } from './deadline.ts'
import { CallFailure } from './failure.ts'
import type { CallResult, CallScope, Next, StageOf } from './pipeline.ts'
import { frozenCopy } from './response-cache.ts'

/** The shared calls of one process that are under way, by the key that the caller makes. */
export type CallsUnderWay = Map<string, SharedCall>

interface SharedCall {
  readonly result: Promise<CallResult>
  /** Ends the call; done when nobody waits for it any more. */
  readonly stop: AbortController
  waiting: number
  /** Whether it failed only because the caller that began it had no more time. */
  endedByLeader(): boolean
  /** One copy for all who did not begin it. */
  copy: CallResult | undefined
}

export const createCallsUnderWay = (): CallsUnderWay => new Map()

export interface CoalesceOptions {
  readonly calls: CallsUnderWay
  /** Equal for calls that may share an answer: workspace, connector, version of the config, operation, input. */
  readonly key: string
  readonly clock: Clock
}

/**
 * Equal calls at the same time are one call of the upstream. For safe operations only. Each caller keeps its own
 * deadline and may go away alone; the shared call ends when all have gone. When it ends because the caller that
 * began it was out of time, one of the others begins anew with its own.
 */
export function coalesce({ calls, key, clock }: CoalesceOptions): StageOf<CallResult> {
  return async (scope, next) => {
    for (;;) {
      const running = calls.get(key)
      const shared = running ?? begin(calls, key, clock, scope, next)
      try {
        const result = await waitFor(calls, key, shared, scope.signal)
        return running === undefined ? result : copyOf(shared, result)
      } catch (error) {
        const again = running !== undefined && shared.endedByLeader() && !scope.signal.aborted
        if (!again || remainingMs(scope, clock) < MIN_LEFT_MS) throw error
      }
    }
  }
}

function begin(
  calls: CallsUnderWay,
  key: string,
  clock: Clock,
  scope: CallScope,
  next: Next<CallResult>,
): SharedCall {
  const stop = new AbortController()
  let outOfTime = false
  const call = async () => {
    try {
      return await next({ ...scope, signal: stop.signal })
    } catch (error) {
      outOfTime = stop.signal.aborted || remainingMs(scope, clock) < MIN_LEFT_MS
      throw error
    } finally {
      if (calls.get(key) === shared) calls.delete(key)
    }
  }
  // A turn later, so that the call stands in the table before it can end.
  const result = Promise.resolve().then(call)
  const shared: SharedCall = { result, stop, waiting: 0, endedByLeader: () => outOfTime, copy: undefined }
  calls.set(key, shared)
  return shared
}

/** The result of a shared call, unless the caller is told to stop first. */
function waitFor(
  calls: CallsUnderWay,
  key: string,
  shared: SharedCall,
  signal: AbortSignal,
): Promise<CallResult> {
  shared.waiting += 1
  return new Promise((resolve, reject) => {
    const leave = () => {
      signal.removeEventListener('abort', goAway)
      shared.waiting -= 1
    }
    const goAway = () => {
      leave()
      if (shared.waiting > 0) {
        reject(gone(signal.reason))
        return
      }
      // The last one: nobody may join any more, and its own failure says whether anything was sent.
      if (calls.get(key) === shared) calls.delete(key)
      shared.result.then(resolve, reject)
      shared.stop.abort(signal.reason)
    }
    if (signal.aborted) {
      goAway()
      return
    }
    signal.addEventListener('abort', goAway)
    shared.result.then(
      (result) => {
        leave()
        resolve(result)
      },
      (error: unknown) => {
        leave()
        reject(error)
      },
    )
  })
}

function copyOf(shared: SharedCall, { output, httpStatus }: CallResult): CallResult {
  shared.copy ??= {
    output: frozenCopy(JSON.stringify(output) ?? 'null'),
    httpStatus,
    servedFrom: 'coalesced',
  }
  return shared.copy
}

function gone(reason: unknown): CallFailure {
  const late = reason instanceof Error && reason.name === 'TimeoutError'
  return new CallFailure({
    class: 'safe_to_repeat',
    kind: late ? 'timeout' : 'aborted',
    message: late ? 'The upstream did not answer in time.' : 'The call was given up.',
    cause: reason,
  })
}
