export interface ProblemKind {
  readonly status: number
  readonly title: string
  /** True when the very same request may succeed later without being changed. */
  readonly retryable: boolean
  /** What the caller should do next, one sentence. */
  readonly next: string
}

/** What goes wrong on this side or behind it: status 500 and above. The others are in `problems-catalogue.ts`. */
export const FAILURES = {
  internal_error: {
    status: 500,
    title: 'Something went wrong inside the hub',
    retryable: true,
    next: 'Try again; if it stays, give the request id to the operator of the hub.',
  },
  upstream_error: {
    status: 502,
    title: 'The upstream failed',
    retryable: true,
    next: 'Read `upstream` and the request log; the attempts that the policy allows are spent.',
  },
  upstream_rejected: {
    status: 502,
    title: 'The upstream refused the request',
    retryable: false,
    next: 'Read `upstream`: the provider says what it does not accept.',
  },
  alert_failed: {
    status: 503,
    title: 'The alert of an emergency could not be sent',
    retryable: true,
    next: 'Mend what takes alerts at BREAK_GLASS_ALERT_URL, or take the setting away and start control again.',
  },
  circuit_open: {
    status: 503,
    title: 'The circuit breaker of the connector is open',
    retryable: true,
    next: 'Wait for the time in Retry-After: the upstream has failed too often. Nothing was sent; GET /breakers on the control plane says why.',
  },
  database_unavailable: {
    status: 503,
    title: 'The database cannot be reached',
    retryable: true,
    next: 'Try again after the time in Retry-After; nothing was stored.',
  },
  hub_timeout: {
    status: 503,
    title: 'The hub took too long',
    retryable: true,
    next: 'Try again with the same idempotency key; if it stays, give the request id to the operator of the hub.',
  },
  identity_provider_unavailable: {
    status: 503,
    title: 'The identity provider cannot be reached',
    retryable: true,
    next: 'Try again, or sign on with password and code.',
  },
  overloaded: {
    status: 503,
    title: 'The hub has too much to do',
    retryable: true,
    next: 'Wait for the time in Retry-After. Less important work is refused first; nothing was begun.',
  },
  payload_store_unavailable: {
    status: 503,
    title: 'Large bodies can be neither kept nor read at the moment',
    retryable: true,
    next: 'Try again after the time in Retry-After; nothing was stored. GET /ready names the payload store and what is wrong with it.',
  },
  secrets_unavailable: {
    status: 503,
    title: 'Stored secrets cannot be kept at the moment',
    retryable: true,
    next: 'Look at GET /ready of the control process: the key-encryption key is missing or what holds it does not answer.',
  },
  shutting_down: {
    status: 503,
    title: 'This process is stopping',
    retryable: true,
    next: 'Try again; another process or the restarted one will answer.',
  },
  webhook_unavailable: {
    status: 503,
    title: 'The webhook cannot be taken at the moment',
    retryable: true,
    next: 'Send the same event again later; nothing of it was stored.',
  },
  upstream_timeout: {
    status: 504,
    title: 'The upstream did not answer in time',
    retryable: true,
    next: 'Read `outcome`: what was not sent can be repeated at once, anything else only with the same idempotency key. If it stays, raise the time-outs of the policy.',
  },
} as const satisfies Record<string, ProblemKind>
