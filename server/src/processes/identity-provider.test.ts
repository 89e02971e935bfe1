import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { systemClock } from '../platform/clock.ts'
import { createLog } from '../platform/log.ts'
import { openIdentityProvider } from './identity-provider.ts'

const SECRET = 'the-secret-of-the-hub-at-the-provider'
const OIDC = {
  OIDC_ISSUER: 'https://idp.test',
  OIDC_CLIENT_ID: 'hub',
  OIDC_REDIRECT_URL: 'https://console.test/cb',
}
const on = { clock: systemClock, log: createLog('test', 'silent') }
const neverCalled = { request: () => Promise.reject(new Error('nobody asks the provider at the start')) }
const open = (env: Readonly<Record<string, string>>) => openIdentityProvider(loadConfig(env), on, neverCalled)

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-idp-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('there is none unless it is set', () => {
  expect(open({})).toBeUndefined()
  expect(open(OIDC)?.settings).toMatchObject({
    issuer: 'https://idp.test',
    mfaValues: [],
    groupsClaim: 'groups',
  })
})

test('its secret may lie in a file, and is printed by nobody', async () => {
  const file = join(folder, 'secret')
  await writeFile(file, `${SECRET}\n`)
  const settings = open({ ...OIDC, OIDC_CLIENT_SECRET_FILE: file })?.settings
  expect(settings?.clientSecret?.reveal()).toBe(SECRET)
  expect(JSON.stringify(settings)).not.toContain(SECRET)
  await writeFile(file, '\n')
  expect(() => open({ ...OIDC, OIDC_CLIENT_SECRET_FILE: file })).toThrow('is empty')
})

test.each([
  [{ OIDC_ISSUER: 'https://idp.test' }, 'belong together'],
  [{ OIDC_CLIENT_SECRET: SECRET }, 'belong together'],
  [{ ...OIDC, OIDC_CLIENT_SECRET: SECRET, OIDC_CLIENT_SECRET_FILE: '/x' }, 'exclude each other'],
  [
    { ...OIDC, OIDC_ISSUER: 'http://idp.test', ORCHESTRATOR_ENV: 'prod' },
    'OIDC_ISSUER must be https in prod',
  ],
  [{ ...OIDC, OIDC_GROUP_ROLES: 'ops=platform_admin' }, 'may not give the role platform_admin'],
] as const)('half of one, an open one and one that makes admins do not start: %j', (env, fault) => {
  expect(() => open(env)).toThrow(fault)
  expect(() => open(env)).not.toThrow(SECRET)
})
