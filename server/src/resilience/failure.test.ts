import { expect, test } from 'vitest'
import { CallFailure, type CallFailureFields, excerptOf } from './failure.ts'

test('an excerpt has at most 2 KiB, cut between characters, and broken bytes are replaced', () => {
  const long = Buffer.from('é'.repeat(2_000))
  expect(excerptOf(long)).toBe('é'.repeat(1_024))
  expect(excerptOf(Buffer.from(`x${'é'.repeat(2_000)}`))).toBe(`x${'é'.repeat(1_023)}`)
  expect(excerptOf(Buffer.from([0x61, 0xff, 0x62]))).toBe('a\ufffdb')
  expect(excerptOf(Buffer.from('short'))).toBe('short')
})

test('another class keeps everything else', () => {
  const upstream = { http_status: 503, body_excerpt: 'busy' }
  const failure = new CallFailure({
    class: 'never_sent',
    kind: 'http_5xx',
    message: 'm',
    httpStatus: 503,
    retryAfterMs: 7,
    upstream,
  })
  expect(failure.as('never_sent')).toBe(failure)
  expect(failure.as('safe_to_repeat')).toMatchObject({ ...failure, class: 'safe_to_repeat', message: 'm' })
})

const failure = (fields: Partial<CallFailureFields>) =>
  new CallFailure({ class: 'permanent', kind: 'test', message: 'It failed.', ...fields })

test.each([
  [{ class: 'never_sent' }, 'not_sent'],
  [{}, 'not_sent'],
  [{ httpStatus: 200 }, 'done'],
  [{ httpStatus: 402 }, 'refused'],
  [{ httpStatus: 429 }, 'put_off'],
  [{ class: 'safe_to_repeat', httpStatus: 425 }, 'put_off'],
  [{ class: 'safe_to_repeat', httpStatus: 500 }, 'unknown'],
  [{ class: 'outcome_unknown' }, 'unknown'],
  [{ class: 'safe_to_repeat', effect: 'not_sent' }, 'not_sent'],
] as const)('%j has the effect %s', (fields, effect) => {
  expect(failure(fields).effect).toBe(effect)
})

test('another class does not change what has happened', () => {
  expect(failure({ class: 'never_sent' }).as('safe_to_repeat').effect).toBe('not_sent')
  expect(failure({ class: 'permanent', httpStatus: 402 }).as('safe_to_repeat').effect).toBe('refused')
})
