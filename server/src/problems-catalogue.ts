/** Every error that the hub answers with; `docs/problems.md` is generated from it. Sorted by status. */

interface ProblemKind {
  readonly status: number
  readonly title: string
  /** True when the very same request may succeed later without being changed. */
  readonly retryable: boolean
  /** What the caller should do next, one sentence. */
  readonly next: string
}

export const PROBLEMS = {
  validation_error: {
    status: 400,
    title: 'The request does not fit its schema',
    retryable: false,
    next: 'Mend every entry of `details` (each names its field) and send the request again.',
  },
  malformed_body: {
    status: 400,
    title: 'The body cannot be read',
    retryable: false,
    next: 'Send valid UTF-8 JSON, at most 64 levels deep; `details`, where they are, name the values that cannot be kept.',
  },
  malformed_request: {
    status: 400,
    title: 'The request is not valid HTTP',
    retryable: false,
    next: 'Check the request line, the headers and the URL encoding.',
  },
  idempotency_key_invalid: {
    status: 400,
    title: 'The Idempotency-Key header is not usable',
    retryable: false,
    next: 'Send one key of 1 to 255 visible ASCII characters.',
  },
  idempotency_key_missing: {
    status: 400,
    title: 'The operation needs an idempotency key',
    retryable: false,
    next: 'Send an Idempotency-Key that stays the same when you repeat the call; a policy can excuse an operation from it.',
  },
  auth_required: {
    status: 401,
    title: 'A valid bearer token is required',
    retryable: false,
    next: 'Send `Authorization: Bearer <token>` with a token of this plane; get one from POST /oauth/token or `npx orchestrator token`.',
  },
  client_credentials_invalid: {
    status: 401,
    title: 'The client credentials are not valid',
    retryable: false,
    next: 'Check client_id and client_secret of the service identity, or create a new identity.',
  },
  login_refused: {
    status: 401,
    title: 'The sign-on was refused',
    retryable: false,
    next: 'Check e-mail address, password and code; after several failures wait as long as Retry-After says.',
  },
  signature_invalid: {
    status: 401,
    title: 'The webhook could not be accepted',
    retryable: false,
    next: 'Check that the webhook route, its signing secret and the sender match, that the body was not re-encoded on its way and that the clocks agree.',
  },
  forbidden: {
    status: 403,
    title: 'The token does not allow this',
    retryable: false,
    next: 'Use a token with the scope or role that `detail` names.',
  },
  workspace_suspended: {
    status: 403,
    title: 'The workspace is suspended',
    retryable: false,
    next: 'Ask an operator to resume the workspace.',
  },
  quota_exceeded: {
    status: 403,
    title: 'The workspace has as many of these as it may have',
    retryable: false,
    next: 'Remove some, or ask a platform admin to raise the quota that the answer names (`quota`, `limit`, `used`).',
  },
  mfa_enrolment_required: {
    status: 403,
    title: 'A second factor is required',
    retryable: false,
    next: 'Enrol an authenticator app with POST /auth/totp and confirm it; the answer has a new session.',
  },
  target_forbidden: {
    status: 403,
    title: 'The target address is not allowed',
    retryable: false,
    next: 'Use a public address, or ask the platform admin to allow the network in OUTBOUND_ALLOW_CIDRS.',
  },
  route_not_found: {
    status: 404,
    title: 'There is no such endpoint',
    retryable: false,
    next: 'Compare method and path with /openapi.json of this plane.',
  },
  not_found: {
    status: 404,
    title: 'There is no such object in this workspace',
    retryable: false,
    next: 'Check the id and that the token belongs to the right workspace.',
  },
  connector_not_found: {
    status: 404,
    title: 'There is no such connector in the active config',
    retryable: false,
    next: 'List the connectors with GET /connectors on the control plane.',
  },
  operation_not_found: {
    status: 404,
    title: 'The connector has no such operation',
    retryable: false,
    next: 'Read the operations of the connector with GET /connectors/:name on the control plane.',
  },
  request_timeout: {
    status: 408,
    title: 'The request took too long to arrive',
    retryable: true,
    next: 'Send the whole request without long pauses.',
  },
  conflict: {
    status: 409,
    title: 'The object is in a state that does not allow this',
    retryable: false,
    next: 'Read the object again and decide anew; `detail` names its state.',
  },
  idempotency_in_flight: {
    status: 409,
    title: 'The same call is still running',
    retryable: true,
    next: 'Ask again with the same key after the time in Retry-After, or send `Prefer: wait=10` to wait for its answer.',
  },
  last_admin: {
    status: 409,
    title: 'The last Admin cannot go',
    retryable: false,
    next: 'Give the role to somebody else first.',
  },
  idempotent_response_gone: {
    status: 410,
    title: 'The answer to this call was too large to be kept',
    retryable: false,
    next: 'The call was carried out once and is not carried out again: read the result from the upstream.',
  },
  plan_changed: {
    status: 412,
    title: 'The plan does not fit any more',
    retryable: false,
    next: 'Make the plan again, look at it, and send its digest.',
  },
  version_mismatch: {
    status: 412,
    title: 'The config has changed since it was read',
    retryable: false,
    next: 'Read the active config again, apply your change to it and send its version in If-Match.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is too large',
    retryable: false,
    next: 'Stay below the limit that `detail` names, or send a reference instead of the bytes.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The content type or encoding is not supported',
    retryable: false,
    next: 'Send `content-type: application/json` without content-encoding.',
  },
  policy_violation: {
    status: 422,
    title: 'The request breaks a policy',
    retryable: false,
    next: 'A request may only tighten the policy of its connector; `details` names the field.',
  },
  bundle_invalid: {
    status: 422,
    title: 'The bundle cannot be imported',
    retryable: false,
    next: 'Mend every entry of `details`; nothing was imported. POST /bundle/plan tells the same without importing.',
  },
  config_invalid: {
    status: 422,
    title: 'The config is not valid',
    retryable: false,
    next: 'Mend every entry of `details`; nothing was stored or activated.',
  },
  input_invalid: {
    status: 422,
    title: 'The input does not fit the operation',
    retryable: false,
    next: 'Mend every entry of `details`; the schema is at GET /connectors/:name on the control plane.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'The idempotency key was used for a different request',
    retryable: false,
    next: 'Use a new key for a new piece of work.',
  },
  secret_unresolved: {
    status: 422,
    title: 'A secret ref does not resolve',
    retryable: false,
    next: 'Check GET /secret-refs on the control plane and put the value where the ref points.',
  },
  too_many_requests: {
    status: 429,
    title: 'Too many at once',
    retryable: true,
    next: 'Wait for the time in Retry-After.',
  },
  precondition_required: {
    status: 428,
    title: 'This would replace something that the request does not say to have seen',
    retryable: false,
    next: 'Read the object and send its ETag in If-Match, or If-Match: * to replace whatever is there.',
  },
  rate_limited: {
    status: 429,
    title: 'A rate limit has no room',
    retryable: true,
    next: 'Wait for the time in Retry-After; `RateLimit` and `RateLimit-Policy` say which limit it is. Nothing was sent.',
  },
  backlog_full: {
    status: 429,
    title: 'The workspace has as many jobs waiting as it may have',
    retryable: true,
    next: 'Submit again after Retry-After, when some are done; GET /queues shows what waits and what keeps it.',
  },
  concurrency_limited: {
    status: 429,
    title: 'Too many calls are in flight',
    retryable: true,
    next: 'Wait for the time in Retry-After, or raise `bulkhead` in the policy. Nothing was sent.',
  },
  headers_too_large: {
    status: 431,
    title: 'The request headers are too large',
    retryable: false,
    next: 'Send fewer or shorter headers.',
  },
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
