import { expect, test } from 'vitest'
import { DIAL_FAILURES, DialFailure } from '../../platform/dial/dial-failure.ts'
import { classOfStatus, failureOfAnswer, failureOfDial } from './classify.ts'

test.each([
  [301, 'permanent', 'permanent'],
  [304, 'permanent', 'permanent'],
  [400, 'permanent', 'permanent'],
  [401, 'permanent', 'permanent'],
  [404, 'permanent', 'permanent'],
  [409, 'permanent', 'permanent'],
  [410, 'permanent', 'permanent'],
  [408, 'safe_to_repeat', 'outcome_unknown'],
  [425, 'safe_to_repeat', 'permanent'],
  [429, 'safe_to_repeat', 'permanent'],
  [500, 'safe_to_repeat', 'outcome_unknown'],
  [502, 'safe_to_repeat', 'outcome_unknown'],
  [503, 'safe_to_repeat', 'outcome_unknown'],
  [504, 'safe_to_repeat', 'outcome_unknown'],
  [599, 'safe_to_repeat', 'outcome_unknown'],
])('HTTP %i is %s for a repeatable operation and %s for another', (status, repeatable, other) => {
  expect([classOfStatus(status, true), classOfStatus(status, false)]).toEqual([repeatable, other])
})

test.each(DIAL_FAILURES)(
  '%s: never sent is repeated, maybe sent only when repeating does no harm',
  (kind) => {
    const classes = (['never', 'maybe'] as const).flatMap((sent) =>
      [true, false].map((repeatable) => failureOfDial(new DialFailure(kind, sent, 'm'), repeatable).class),
    )
    const hopeless = kind === 'address_forbidden' || kind === 'protocol' ? 'permanent' : 'never_sent'
    const maybe =
      kind === 'address_forbidden' ? ['permanent', 'permanent'] : ['safe_to_repeat', 'outcome_unknown']
    expect(classes).toEqual([hopeless, hopeless, ...maybe])
  },
)

test('a refused body of a success is final, because the call had its effect; of a 503 it is a 503', () => {
  const of = (status: number, repeatable: boolean) =>
    failureOfDial(new DialFailure('response_too_large', 'maybe', 'm', { status }), repeatable)
  expect(of(200, true)).toMatchObject({ class: 'permanent', kind: 'response_too_large', httpStatus: 200 })
  expect(of(503, true).class).toBe('safe_to_repeat')
  expect(of(503, false).class).toBe('outcome_unknown')
})

test('a failed answer keeps status, Retry-After and the beginning of the body', () => {
  const response = {
    status: 429,
    headers: { 'retry-after': 'Thu, 01 Jan 1970 00:00:09 GMT' },
    body: Buffer.from('slow down '.repeat(1_000)),
  }
  const failure = failureOfAnswer(response, 'safe_to_repeat', 2_000)
  expect(failure).toMatchObject({ kind: 'http_429', httpStatus: 429, retryAfterMs: 7_000 })
  expect(failure.upstream?.http_status).toBe(429)
  expect(failure.upstream?.body_excerpt).toHaveLength(2_048)
})
