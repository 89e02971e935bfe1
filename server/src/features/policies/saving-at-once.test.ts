import { expect, test } from 'vitest'
import { policyOf, savedDocument, savingAtOnce } from '../../../testing/saving-at-once.ts'
import { policiesControl } from './policies.control.ts'

const put = (name: string, total_ms: number) =>
  ['PUT', `/policies/${name}`, { policy: policyOf(total_ms) }] as const

const { hub, seen, send } = savingAtOnce(
  '/policies/:name',
  (app, { configDeps }) => policiesControl(app, configDeps),
  async (_hub, value) => put('slow', value * 10_000 + 1),
)

test('a version that never was is a mismatch without a diff', async () => {
  const answer = await send(put('slow', 5_000), '"4294967295"')
  expect(answer).toMatchObject({ status: 412, body: { active_version: seen() } })
  expect(answer.body).not.toHaveProperty('differences')
})

test('new names and changes that change nothing need no If-Match', async () => {
  expect((await send(put('fresh', 5_000))).status).toBe(200)
  expect((await send(put('fresh', 5_000))).status).toBe(200)
})

test('a diff too long for an error is cut, and says by how much', async () => {
  const before = seen()
  const many = Array.from({ length: 150 }, (_, at) => [`p${at}`, policyOf(5_000 + at)])
  const document = savedDocument('/many')
  await hub().configure({ ...document, policies: { ...Object.fromEntries(many), ...document.policies } })
  const answer = await send(put('slow', 6_000), `"${before}"`)
  expect(answer.body.differences).toHaveLength(100)
  expect(answer.body.more_differences).toBe(51)
  expect(Buffer.byteLength(answer.text)).toBeLessThan(64 * 1024)
})
