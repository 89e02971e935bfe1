import type { BreakerSettings } from '../src/resilience/breaker.ts'

/** The system's defaults; tests that need others say which. */
export const BREAKER_SETTINGS: BreakerSettings = {
  consecutiveFailures: 5,
  failureRate: 0.5,
  slowRate: 0.8,
  slowCallMs: 8_000,
  minCalls: 20,
  windowMs: 30_000,
  openMs: 30_000,
  openCapMs: 300_000,
  probes: 5,
  closeRate: 0.6,
  attemptMs: 10_000,
}
