import { parseOptions } from '@node-rs/argon2'
import { expect, test } from 'vitest'
import { Secret } from '../../platform/secret.ts'
import { createPasswords, passwordFault } from './passwords.ts'

const fault = (text: string, about: readonly string[] = []) => passwordFault(new Secret(text), about)

test.each([
  'short',
  'aaaaaaaaaaaaaa',
  'abababababababab',
  'abcdefghijklmnop',
  '123456789012345',
  'qwertyuiopasdf',
  'Password1234',
  'P@ssw0rd2026!',
  'passwordpassword',
  'Orchestrator-26',
  'x'.repeat(129),
])('%s is refused', (text) => expect(fault(text)).toBeTypeOf('string'))

test('the own name is no password', () => {
  const about = ['lovelace@example.com', 'Ada Lovelace']
  expect(fault('lovelace-1815', about)).toBe('is made of words that everybody tries first')
  expect(fault('lovelace-1815')).toBeUndefined()
})

test.each(['a staple of nine horses', 'Zx7#kQp9!mW2', 'пароль длинный и свой'])('%s is taken', (text) =>
  expect(fault(text)).toBeUndefined(),
)

test('hashes are argon2id with 19 MiB and two passes, and match the same password only', async () => {
  const passwords = createPasswords()
  const hash = await passwords.hash(new Secret('a staple of nine horses'))
  expect(parseOptions(hash)).toMatchObject({ memoryCost: 19_456, timeCost: 2, parallelism: 1 })
  expect(hash).toMatch(/^\$argon2id\$/)
  expect(await passwords.matches(new Secret('a staple of nine horses'), hash)).toBe(true)
  expect(await passwords.matches(new Secret('a staple of nine horseS'), hash)).toBe(false)
  expect(await passwords.matches(new Secret('nobody'), undefined)).toBe(false)
})

test('a flood is refused, and what waits is done in its turn', async () => {
  const passwords = createPasswords({ cost: { memoryCost: 64, timeCost: 1, parallelism: 1 } })
  const tries = Array.from({ length: 40 }, () => passwords.matches(new Secret('guess'), undefined))
  const results = await Promise.allSettled(tries)
  const refused = results.filter(({ status }) => status === 'rejected')
  expect(refused).toHaveLength(18)
  for (const result of refused) expect(result).toMatchObject({ reason: { code: 'overloaded' } })
  expect(await passwords.matches(new Secret('guess'), undefined)).toBe(false)
})
