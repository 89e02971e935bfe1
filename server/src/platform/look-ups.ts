/** Runs `work` for a key; the answer is never older than the question. */
export type LookUp = (key: string) => Promise<void>

/**
 * One run at a time per key. Who asks during a run gets the next one, because the run may have read before the
 * change that he knows of; all who ask during one run share the next. So a key costs one run after the other,
 * however many ask.
 */
export function createLookUp(work: (key: string) => Promise<void>): LookUp {
  const running = new Map<string, Promise<void>>()
  const next = new Map<string, Promise<void>>()

  const start = (key: string): Promise<void> => {
    next.delete(key)
    const run = work(key).finally(() => {
      if (running.get(key) === run) running.delete(key)
    })
    running.set(key, run)
    return run
  }

  return (key) => {
    const current = running.get(key)
    if (current === undefined) return start(key)
    const shared =
      next.get(key) ??
      current.then(
        () => start(key),
        () => start(key),
      )
    next.set(key, shared)
    return shared
  }
}
