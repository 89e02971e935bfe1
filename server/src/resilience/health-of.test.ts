import { expect, test } from 'vitest'
import { CallFailure, type CallFailureFields } from './failure.ts'
import { type Health, healthOf } from './health-of.ts'

const ATTEMPT_MS = 10_000

test.each<[string, Partial<CallFailureFields>, Health]>([
  ['nobody listens', { class: 'never_sent', kind: 'refused' }, 'transport'],
  ['the name is unknown', { class: 'never_sent', kind: 'dns' }, 'transport'],
  ['the connection broke', { class: 'outcome_unknown', kind: 'reset' }, 'transport'],
  [
    'it broke in the middle of a good answer',
    { class: 'permanent', kind: 'reset', httpStatus: 200 },
    'transport',
  ],
  ['no HTTP came back', { class: 'outcome_unknown', kind: 'protocol' }, 'transport'],
  ['a request that cannot be written', { class: 'permanent', kind: 'protocol' }, 'none'],
  ['the upstream is broken', { class: 'safe_to_repeat', kind: 'http_5xx', httpStatus: 503 }, 'failed'],
  ['too many requests', { class: 'safe_to_repeat', kind: 'http_429', httpStatus: 429 }, 'busy'],
  ['the caller is wrong', { class: 'permanent', kind: 'http_4xx', httpStatus: 404 }, 'ok'],
  ['a request timeout of the upstream', { class: 'safe_to_repeat', kind: 'http_4xx', httpStatus: 408 }, 'ok'],
  ['an answer that is too large', { class: 'permanent', kind: 'response_too_large', httpStatus: 200 }, 'ok'],
  ['a private address', { class: 'permanent', kind: 'address_forbidden' }, 'none'],
  ['the hub stops', { class: 'never_sent', kind: 'aborted' }, 'none'],
  ['our rate limit', { class: 'never_sent', kind: 'rate_limited', refusedBy: 'rate_limit' }, 'none'],
  ['our breaker', { class: 'never_sent', kind: 'circuit_open', refusedBy: 'breaker' }, 'none'],
  ['a secret is missing', { class: 'never_sent', kind: 'secret_unresolved' }, 'none'],
  ['another protocol says no', { class: 'permanent', kind: 'smtp_5xx' }, 'ok'],
  ['one recipient of many is put off', { class: 'safe_to_repeat', kind: 'smtp_4xx' }, 'ok'],
])('%s', (_what, fields, health) => {
  const failure = new CallFailure({ class: 'permanent', kind: 'test', message: 'failed', ...fields })
  expect(healthOf(failure, 50, ATTEMPT_MS)).toBe(health)
})

test('a timeout counts unless the caller was in a hurry', () => {
  const timeout = new CallFailure({ class: 'outcome_unknown', kind: 'timeout', message: 'late' })
  expect(healthOf(timeout, 4_999, ATTEMPT_MS)).toBe('none')
  expect(healthOf(timeout, 5_000, ATTEMPT_MS)).toBe('transport')
})

test('a bug in our code says nothing about the upstream', () => {
  expect(healthOf(new TypeError('bug'), 50, ATTEMPT_MS)).toBe('none')
})
