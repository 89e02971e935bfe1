import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { GITHUB_OPERATIONS } from '../../../testing/event-lists.ts'
import { PERMISSIONS } from '../permissions/permissions.ts'
import { GAP_SOURCES } from './gap-sources/registry.ts'

/** docs/webhook-gaps.md is written by hand and held to the code here. */
const page = readFileSync(new URL('../../../../docs/webhook-gaps.md', import.meta.url), 'utf8')

it('names every provider, every kind of connector and every setting', () => {
  const names = [...GAP_SOURCES.values()].flatMap(({ provider, connectorKinds, settings }) => [
    ...[provider, ...connectorKinds],
    ...Object.keys(settings.properties),
  ])
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
})

it('gives the connector that the tests of GitHub use', () => {
  const [, example = ''] = /```json\n(\{\n {2}"kind": "http"[\s\S]*?)```/.exec(page) ?? []
  expect(JSON.parse(example).settings.operations).toEqual(GITHUB_OPERATIONS)
})

it('names the permissions', () => {
  const ours = Object.keys(PERMISSIONS).filter((name) => name.startsWith('webhook_gaps.'))
  expect(ours.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
  expect(ours).toHaveLength(2)
})
