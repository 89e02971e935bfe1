import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { ConnectorConfig } from './connectors.schema.ts'
import { checkConnector, compileConnector } from './connectors.ts'
import { KINDS } from './registry.ts'

/** docs/connectors.md is written by hand and held to the code here. */
const page = readFileSync(new URL('../../../../docs/connectors.md', import.meta.url), 'utf8')
const sections = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf('\n')).trim(), section] as const),
)

describe.each(KINDS)('the section on $kind', (kind) => {
  const section = sections.get(kind.kind) ?? ''

  test('names every setting and every secret', () => {
    const names = [...Object.keys(kind.settings.properties), ...Object.keys(kind.secrets)]
    expect(names.filter((name) => !section.includes(`\`${name}\``))).toEqual([])
  })

  test('has an example that may be saved as it stands, and names every operation of it', () => {
    const [, example = ''] = /```json\n([\s\S]*?)```/.exec(section) ?? []
    const config = JSON.parse(example) as ConnectorConfig
    expect(config.kind).toBe(kind.kind)
    expect(checkConnector('example', config)).toEqual([])
    const { operations } = compileConnector({ name: 'example', lane: 1, config })
    const told = kind.kind === 'http' ? example : section
    expect(
      [...operations.keys()].filter(
        (name) => !told.includes(kind.kind === 'http' ? `"${name}"` : `\`${name}\``),
      ),
    ).toEqual([])
  })
})

test('the page of the SDK calls operations of Stripe that there are', () => {
  const sdkPage = readFileSync(new URL('../../../../sdk/README.md', import.meta.url), 'utf8')
  const named = [...sdkPage.matchAll(/connector: 'stripe',\s+operation: '([^']+)'/g)].map(
    ([, name = '']) => name,
  )
  expect(named).toHaveLength(2)
  const config: ConnectorConfig = { kind: 'stripe', settings: { mode: 'test' }, secrets: { api_key: 'key' } }
  const { operations } = compileConnector({ name: 'stripe', lane: 1, config })
  expect(named.filter((name) => !operations.has(name))).toEqual([])
})
