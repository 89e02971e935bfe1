import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { providerFaults } from '../check-settings.ts'
import { HmacSettings } from '../provider-parts/hmac-settings.ts'
import { PROVIDERS } from './registry.ts'

/** docs/webhook-providers.md is written by hand and held to the code here. */
const page = readFileSync(new URL('../../../../../docs/webhook-providers.md', import.meta.url), 'utf8')

it('the table has a row for every provider and for nothing else', () => {
  const table = page.slice(page.indexOf('| Provider |'), page.indexOf('Times count'))
  const rows = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name)
  expect(rows.sort()).toEqual([...PROVIDERS.keys()].sort())
})

it('every setting of hmac is explained', () => {
  const rows = [...page.slice(page.indexOf('| Setting |')).matchAll(/^\| `([^`]+)` \|/gm)].map(
    ([, name]) => name,
  )
  expect(rows.sort()).toEqual(Object.keys(HmacSettings.properties).sort())
})

it('every example of settings is accepted', () => {
  const examples = [...page.matchAll(/```json\n(.*?)```/gs)].map(([, text = '']) => JSON.parse(text))
  expect(examples.length).toBeGreaterThan(3)
  for (const example of examples) expect(providerFaults('hmac', example)).toEqual([])
})
