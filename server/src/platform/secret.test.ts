import { format, inspect } from 'node:util'
import { expect, test } from 'vitest'
import { capturedLog } from '../../testing/captured-log.ts'
import { equalInConstantTime, Secret } from './secret.ts'

const VALUE = 'sk_live_hunter2'

test('a secret cannot be printed by any usual way, nested or not', () => {
  const secret = new Secret(VALUE)
  const { log, text } = capturedLog()
  log.info(
    { secret, nested: { deep: [secret] }, err: Object.assign(new Error('x'), { secret }) },
    `${secret}`,
  )
  const printed = [
    `${secret}`,
    String(secret),
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 9, showHidden: true }),
    format('%s %o %j', secret, secret, secret),
    JSON.stringify(structuredClone({ ...secret })),
    text(),
  ]
  expect(printed.join('\n')).not.toContain('hunter2')
  expect(secret.reveal()).toBe(VALUE)
})

test('the log cuts out fields that are named like secrets', () => {
  const { log, text } = capturedLog()
  log.info({
    authorization: VALUE,
    headers: { authorization: VALUE },
    body: { password: VALUE, client_secret: VALUE },
  })
  expect(text()).not.toContain('hunter2')
  expect(text()).toContain('[redacted]')
})

test('an error in the log keeps what explains it and leaves out what an upstream or a caller has sent', () => {
  const { log, lines, text } = capturedLog()
  const upstream = Object.assign(new Error('HTTP 500'), {
    kind: 'http_5xx',
    upstream: { http_status: 500, body_excerpt: VALUE },
    where: VALUE,
    detail: VALUE,
  })
  log.warn({ err: new Error('failed', { cause: upstream }) }, 'x')
  expect(text()).not.toContain('hunter2')
  expect(lines()[0]?.err).toMatchObject({
    message: 'failed',
    cause: { message: 'HTTP 500', kind: 'http_5xx' },
    stack: expect.stringContaining('secret.test.ts'),
  })
})

test('comparison is right for equal, different and differently long texts', () => {
  expect(equalInConstantTime('abc', 'abc')).toBe(true)
  expect(equalInConstantTime('abc', 'abd')).toBe(false)
  expect(equalInConstantTime('abc', 'abcd')).toBe(false)
  expect(equalInConstantTime('', 'a')).toBe(false)
})
