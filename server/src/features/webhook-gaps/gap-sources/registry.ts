import type { GapSource } from '../gap-source.ts'
import { github } from './github.ts'
import { stripe } from './stripe.ts'

/** By webhook provider: whose own list of events the hub can read. */
export const GAP_SOURCES: ReadonlyMap<string, GapSource> = new Map(
  [stripe, github].map((source) => [source.provider, source]),
)
