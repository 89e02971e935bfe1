import { LRUCache } from 'lru-cache'
import type { Clock } from '../platform/clock.ts'
import type { CallResult } from './pipeline.ts'

/** A kept answer. Its output is frozen: all who get it share it. */
export interface KeptResponse {
  readonly output: unknown
  readonly httpStatus: number | null
  readonly ageMs: number
}

/** Answers of safe operations, in the memory of one process. */
export interface ResponseCache {
  /** An answer that is at most `maxAgeMs` old. */
  find(key: string, maxAgeMs: number): KeptResponse | undefined
  /** Keeps a copy for `keepMs`; one that is too large is not kept. */
  keep(key: string, result: CallResult, keepMs: number): void
  readonly bytes: number
}

interface Entry {
  readonly output: unknown
  readonly httpStatus: number | null
  readonly keptAt: number
  readonly until: number
}

const DEFAULT_MAX_BYTES = 64 * 1024 * 1024
/** So that one answer cannot push out everything else. */
const MAX_SHARE = 1 / 64
/** What an entry needs besides its text. */
const OVERHEAD_BYTES = 512

/**
 * Bounded by bytes; the answer that was used longest ago goes first. The caller makes the key: it must name
 * workspace, connector, version of the config, operation and input.
 */
export function createResponseCache(options: {
  readonly clock: Clock
  readonly maxBytes?: number
}): ResponseCache {
  const { clock, maxBytes = DEFAULT_MAX_BYTES } = options
  const entries = new LRUCache<string, Entry>({
    maxSize: maxBytes,
    maxEntrySize: Math.ceil(maxBytes * MAX_SHARE),
  })
  return {
    find: (key, maxAgeMs) => {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      const now = clock.monotonic()
      if (now >= entry.until) entries.delete(key)
      const ageMs = now - entry.keptAt
      if (now >= entry.until || ageMs > maxAgeMs) return undefined
      return { output: entry.output, httpStatus: entry.httpStatus, ageMs }
    },
    keep: (key, { output, httpStatus }, keepMs) => {
      const text = JSON.stringify(output)
      if (text === undefined) return
      const now = clock.monotonic()
      // A copy: the call whose answer this is may do with it what it likes.
      const entry = { output: frozenCopy(text), httpStatus, keptAt: now, until: now + keepMs }
      entries.set(key, entry, { size: 2 * (text.length + key.length) + OVERHEAD_BYTES })
    },
    get bytes() {
      return entries.calculatedSize
    },
  }
}

/** The value of a JSON text, unchangeable through and through. */
export const frozenCopy = (text: string): unknown => frozen(JSON.parse(text))

/** Not by the reviver of `JSON.parse`, which is several times slower. */
function frozen(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  for (const part of Object.values(value)) frozen(part)
  return Object.freeze(value)
}
