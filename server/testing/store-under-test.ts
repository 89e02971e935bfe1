import type { SharedStore } from '../src/resilience/stores/store.ts'

/** A store as two nodes see it. */
export interface StoreUnderTest {
  /** Two nodes over the same store. A store of one process gives itself twice. */
  readonly nodes: readonly [SharedStore, SharedStore]
  /**
   * Moves the time by which the store decides; both nodes see it. A store with a clock of its own may really wait:
   * the suite never moves it by more than `LONGEST_ADVANCE_MS` at once.
   */
  advance(ms: number): Promise<void>
  /** How much time may pass by itself between two steps of a test, in ms. 0 for a clock that stands still. */
  readonly driftMs: number
  close(): Promise<void>
}

export const LONGEST_ADVANCE_MS = 3_000
