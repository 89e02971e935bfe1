import type { DocumentedAnswers } from '../../platform/http/documented-answers.ts'

const BEGUN = [502, 503, 504] as const

/** What `POST /execute` answers beside its result, for the OpenAPI document. */
export const EXECUTE_ANSWERS: DocumentedAnswers = {
  problems: [
    'idempotency_key_invalid',
    'idempotency_key_missing',
    'target_forbidden',
    'connector_not_found',
    'operation_not_found',
    'idempotency_in_flight',
    'idempotent_response_gone',
    'payload_damaged',
    'payload_store_unavailable',
    'policy_violation',
    'config_invalid',
    'input_invalid',
    'idempotency_key_reused',
    'secret_unresolved',
    'rate_limited',
    'concurrency_limited',
    'upstream_error',
    'upstream_rejected',
    'circuit_open',
    'overloaded',
    'upstream_timeout',
  ],
  headers: {
    'Idempotent-Replayed': {
      description: '`true` when this is the stored answer of an earlier call with the same key.',
      statuses: [200, 502, 504],
    },
    'Preference-Applied': {
      description:
        '`wait=N` when the call waited for one with the same key that was running (RFC 7240); N in seconds.',
      statuses: [200, 409, 502, 504],
    },
    RateLimit: {
      description:
        'What is left of the limits that the call was charged for, scarcest first (IETF draft ratelimit-headers): `r` permits, `t` seconds until there are more.',
      statuses: [200, 429, ...BEGUN],
    },
    'RateLimit-Policy': {
      description: 'The limits themselves, by the same names: `q` permits in `w` seconds.',
      statuses: [200, 429, ...BEGUN],
    },
    'Retry-After': {
      description: 'Seconds after which the same request may succeed.',
      type: 'integer',
      statuses: [409, 429, 502, 503],
    },
    Link: {
      description: 'For `idempotency_key_missing`: where it is said how to do it right.',
      statuses: [400],
    },
  },
}

/** Members of a problem document that only this route has. */
export const PROBLEM_MEMBERS =
  'The problem of a call that was begun also has `execution_id`, `attempts`, `idempotency`, `upstream` where there was an answer, and `outcome`: `not_sent`, `refused`, `done` (only the answer was unusable) or `unknown` (it may have had its effect; docs/idempotency.md).'
