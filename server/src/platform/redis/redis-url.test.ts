import { describe, expect, test } from 'vitest'
import { nameOf, parseRedisUrls } from './redis-url.ts'

describe('parseRedisUrls', () => {
  test('reads host, port, TLS, user, password and database', () => {
    const [endpoint] = parseRedisUrls('rediss://hub:p%40ss%2C@redis.internal:6380/3')
    expect(endpoint).toMatchObject({
      host: 'redis.internal',
      port: 6380,
      tls: true,
      username: 'hub',
      database: 3,
    })
    expect(endpoint.password?.reveal()).toBe('p@ss,')
    expect(JSON.stringify(endpoint)).not.toContain('p@ss')
  })

  test('has the usual port, takes a password without a user, and IPv6', () => {
    expect(parseRedisUrls('redis://:secret@[::1]')[0]).toMatchObject({ host: '::1', port: 6379, tls: false })
    expect(nameOf(parseRedisUrls('redis://[::1]')[0])).toBe('[::1]:6379')
  })

  test('takes the nodes of one cluster', () => {
    expect(parseRedisUrls('redis://a:1, redis://b:2').map(nameOf)).toEqual(['a:1', 'b:2'])
  })

  test.each([
    ['', 'must name a server'],
    ['http://hunter2@a', 'must be redis://'],
    ['redis://u:hunter2#x@a:1', 'must be redis://'],
    ['redis://:hunter2@', 'must be redis://'],
    ['redis://:hunter2@a:1/cache', 'number of a database'],
    ['redis://:hunter2%@a', 'percent sign'],
    ['redis://:hunter2@a,redis://b', 'more than host and port'],
    ['redis://:hunter2@a,rediss://:hunter2@b', 'more than host and port'],
    ['redis://:hunter2@a/1,redis://:hunter2@b/1', 'database 0 only'],
  ])('refuses %j and does not repeat it', (text, said) => {
    expect(() => parseRedisUrls(text)).toThrow(said)
    expect(() => parseRedisUrls(text)).not.toThrow(/hunter2/)
  })
})
