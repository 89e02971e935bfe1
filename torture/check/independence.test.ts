import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('the checker shares nothing with what it judges', () => {
  const root = join(import.meta.dirname, '..')
  const files = [
    ...readdirSync(import.meta.dirname).map((name) => `check/${name}`),
    'checker.ts',
    'history.ts',
  ]
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  expect(sources.length).toBeGreaterThan(7)
  for (const file of sources) {
    const imports = [...readFileSync(join(root, file), 'utf8').matchAll(/from '([^']+)'/g)].map(
      ([, from]) => from,
    )
    expect(imports.filter((from) => !/^\.\.?\/(check\/)?[a-z]+\.ts$/.test(from ?? ''))).toEqual([])
  }
})
