import { createLog, type Log } from '../src/platform/log.ts'

/** A log at the level debug whose lines stay in memory: for tests that look for what must or must not be in them. */
export function capturedLog(): { readonly log: Log; text(): string; lines(): Record<string, unknown>[] } {
  const written: string[] = []
  return {
    log: createLog('test', 'debug', { write: (line) => void written.push(line) }),
    text: () => written.join(''),
    lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}
