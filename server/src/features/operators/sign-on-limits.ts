import type { Clock } from '../../platform/clock.ts'
import { Problem } from '../../problems.ts'
import { createMemoryStore } from '../../resilience/stores/memory.ts'
import { sha256 } from './one-time-token.ts'

/** Hashing is dear, so floods are refused before it. What several nodes let pass together is counted in the database. */
const PER_ACCOUNT = { permits: 10, periodMs: 60_000, burst: 10 }
const PER_ADDRESS = { permits: 60, periodMs: 60_000, burst: 30 }

export interface SignOnLimits {
  /** One try. `account` is whatever names one, known or not. Errors: `rate_limited`. */
  take(account: string, ip: string): void
  close(): Promise<void>
}

export function createSignOnLimits({ clock }: { readonly clock: Clock }): SignOnLimits {
  const store = createMemoryStore({ clock })
  const charge = { cost: 1, enforced: true }
  return {
    take: (account, ip) => {
      const { allowed, states } = store.charge('sign-on', [
        // People type passwords into the wrong field, so the name itself is not kept.
        { ...charge, key: `account/${sha256(account).toString('base64url')}`, limit: PER_ACCOUNT },
        { ...charge, key: `address/${ip}`, limit: PER_ADDRESS },
      ])
      if (allowed) return
      const waitMs = Math.max(...states.map(({ retryAfterMs }) => retryAfterMs))
      throw new Problem('rate_limited', 'Too many tries to sign on.', {
        retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)),
      })
    },
    close: () => store.close(),
  }
}
