/** A workspace from its first command to its last, on real processes; the clock is the only thing that is helped. */

import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, runCli, startRole, tokenFor } from './hub-process.ts'

const TEST_MS = 90_000
const SLUG = 'shop-dev'
let database: Awaited<ReturnType<typeof emptyDatabase>>
let home: HubHome

beforeAll(async () => {
  database = await emptyDatabase()
  home = await hubHome({ DATABASE_URL: database.url })
  expect((await runCli(home, 'migrate')).code).toBe(0)
  await startRole(home, 'control')
}, TEST_MS)
afterAll(async () => {
  await home.remove()
  await database.drop()
})

const cli = async (...args: readonly string[]) => {
  const { code, stdout, stderr } = await runCli(home, 'workspace', ...args)
  return { code, text: `${stdout}${stderr}` }
}

test(
  'is made from its template, stopped, exported, deleted and gone, and its name stays taken',
  async () => {
    expect(await cli('create', SLUG, '--name', 'Shop')).toMatchObject({ code: 0 })
    expect(await cli('create', 'shop-prod')).toMatchObject({
      code: 1,
      text: expect.stringContaining('/body/slug'),
    })
    expect(await cli('suspend', SLUG)).toMatchObject({ code: 1, text: expect.stringContaining('--reason') })
    expect(await cli('suspend', SLUG, '--reason', 'unpaid')).toMatchObject({ code: 0 })
    expect((await cli('list')).text).toMatch(/shop-dev +suspended +Shop +unpaid/)
    expect(await cli('resume', SLUG, '--reason', 'paid')).toMatchObject({ code: 0 })

    const token = await tokenFor(home, 'control', '--platform-admin')
    const { body } = await call<{ data: { id: string }[] }>(`${home.urls.control}/workspaces`, { token })
    const id = body.data[0]?.id
    const shopToken = await tokenFor(home, 'control', '--workspace', SLUG, '--platform-admin')
    const trusted = await call(`${home.urls.control}/trusted-issuers`, {
      token: shopToken,
      body: {
        name: 'staff',
        issuer: 'https://id.example.com',
        jwks_url: 'https://id.example.com/keys',
        scopes: ['orchestrator.execute'],
        reason: 'a test',
      },
    })
    expect(trusted.status, JSON.stringify(trusted.body)).toBe(201)
    const file = await fetch(`${home.urls.control}/workspaces/${id}/export?reason=goodbye`, {
      headers: { authorization: `Bearer ${token}` },
    })
    const lines = (await file.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.find(({ part }) => part === 'bundle').bundle.config.policies).toHaveProperty('callbacks')
    expect(lines.find(({ part }) => part === 'trusted_issuer')).toMatchObject({
      name: 'staff',
      issuer: 'https://id.example.com',
      jwksUrl: 'https://id.example.com/keys',
    })
    expect(lines.at(-1)).toMatchObject({
      part: 'end',
      counts: { bundle: 1, trusted_issuer: 1, audit_entry: expect.any(Number) },
    })

    const ending = ['--reason', 'the product ended', '--grace-days', '0']
    expect((await cli('delete', SLUG, '--confirm', 'beauty-dev', ...ending)).code).toBe(1)
    expect((await cli('delete', SLUG, '--confirm', SLUG, ...ending)).code).toBe(0)
    expect((await cli('restore', SLUG, '--reason', 'not yet')).code).toBe(0)
    expect((await cli('delete', SLUG, '--confirm', SLUG, ...ending)).code).toBe(0)
    const client = new Client({ connectionString: database.url })
    await client.connect()
    await client.query('update workspace set delete_after = now()')
    await client.end()
    await startRole(home, 'worker')
    await expect
      .poll(
        async () =>
          (await call<{ status: string }>(`${home.urls.control}/workspaces/${id}`, { token })).body.status,
        {
          timeout: 30_000,
        },
      )
      .toBe('deleted')
    expect(await cli('create', SLUG)).toMatchObject({ code: 1, text: expect.stringContaining('conflict') })
    expect((await runCli(home, 'audit', 'verify')).stdout).toMatch(/ok +shop-dev/)
  },
  TEST_MS,
)
