import { expect, test } from 'vitest'
import { CallFailure, excerptOf } from './failure.ts'

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
