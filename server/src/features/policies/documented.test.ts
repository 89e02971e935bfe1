import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { RateLimitRule } from './policies.ts'
import { SYSTEM_POLICY } from './policies.ts'

const page = readFileSync(join(import.meta.dirname, '../../../../docs/policies.md'), 'utf8')

/** As a person would write it. */
function written(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  const { permits, period_ms, burst } = value as RateLimitRule
  return `${permits} per ${period_ms}, ${burst} at once`
}

test('docs/policies.md has every value of the system’s policy, and no other', () => {
  const [, table = ''] = page.split('## Every section')
  const documented = [...table.matchAll(/^\| `([a-z_.]+)` \| ([^|]+) \|/gm)].map(([, path, value]) => [
    path,
    value,
  ])
  const real = Object.entries(SYSTEM_POLICY).flatMap(([section, values]) =>
    Object.entries(values).map(([key, value]) => [`${section}.${key}`, written(value)]),
  )
  expect(documented.sort()).toEqual(real.sort())
})
