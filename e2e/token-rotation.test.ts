import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { importJWK, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningHub, runCli, startHub, tokenFor } from './hub-process.ts'

const PLANES = ['exec', 'control'] as const
type Plane = (typeof PLANES)[number]
const WITHIN = { timeout: 20_000, interval: 50 }

let home: HubHome
let hub: RunningHub
beforeAll(async () => {
  home = await hubHome()
  hub = await startHub(home)
})
afterAll(() => home.remove())

const kidsOf = async (plane: Plane): Promise<string[]> => {
  const { body } = await call<{ keys: { kid: string }[] }>(`${hub.urls[plane]}/.well-known/jwks.json`)
  return body.keys.map(({ kid }) => kid)
}
const read = async (plane: Plane, token: string): Promise<number> =>
  (await call(`${hub.urls[plane]}${plane === 'exec' ? '/jobs' : '/configs'}`, { token })).status
const headerOf = (token: string): { kid: string } =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString('utf8'))
const claimsOf = (token: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'))

/** Calls both planes without a pause, with what `token` gives, and counts the answers by status. */
function callAllTheTime(token: (plane: Plane) => string) {
  const statuses = new Map<number, number>()
  let stopping = false
  const caller = async (plane: Plane): Promise<void> => {
    while (!stopping) {
      const status = await read(plane, token(plane))
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  }
  const callers = Promise.all(PLANES.map(caller))
  const total = () => [...statuses.values()].reduce((sum, count) => sum + count, 0)
  return {
    statuses,
    /** Resolves when so many more calls have been answered. */
    more: async (calls: number) => {
      const until = total() + calls
      await vi.waitFor(() => expect(total()).toBeGreaterThanOrEqual(until), WITHIN)
    },
    stop: async () => {
      stopping = true
      await callers
    },
  }
}

test('keys are rotated while calls go on: none is refused, both keys are published, old and new tokens work', async () => {
  const before = { exec: await kidsOf('exec'), control: await kidsOf('control') }
  const old = hub.tokens
  const traffic = callAllTheTime((plane) => old[plane])
  await traffic.more(50)

  const { code, stdout } = await runCli(home, 'keys', 'rotate')
  expect(code).toBe(0)
  expect(stdout).toMatch(
    /^exec: key \S+ signs from \S+\ncontrol: key \S+ signs from \S+\naudit: key \S+ signs from \S+\n$/,
  )
  const fresh = Object.fromEntries(
    PLANES.map((plane) => [plane, new RegExp(`^${plane}: key (\\S+)`, 'm').exec(stdout)?.[1]]),
  )
  for (const plane of PLANES) {
    expect(before[plane]).toHaveLength(1)
    await vi.waitFor(
      async () => expect(new Set(await kidsOf(plane))).toEqual(new Set([...before[plane], fresh[plane]])),
      WITHIN,
    )
  }
  expect(fresh.exec).not.toBe(fresh.control)

  // Published first: a token of today still has the old key, which every verifier knows.
  const today = await tokenFor(home, 'exec', '--workspace', 'buildos-dev')
  expect(headerOf(today).kid).toBe(before.exec[0])
  expect(await read('exec', today)).toBe(200)
  await traffic.more(50)
  await traffic.stop()
  expect([...traffic.statuses.keys()]).toEqual([200])
})

test('a token of the new key is accepted as soon as the key is published, on its own plane only', async () => {
  const file = JSON.parse(await readFile(join(home.dataDir, 'keys/exec.json'), 'utf8')) as {
    keys: { kid: string; alg: string }[]
  }
  const newest = file.keys.at(-1)
  const claims = { ...claimsOf(hub.tokens.exec), jti: 'signed-by-the-new-key' }
  const token = await new SignJWT(claims)
    .setProtectedHeader({ ...headerOf(hub.tokens.exec), alg: 'EdDSA', kid: String(newest?.kid) })
    .sign(await importJWK({ ...newest }, 'EdDSA'))
  expect(newest?.kid).not.toBe(headerOf(hub.tokens.exec).kid)
  expect(await read('exec', token)).toBe(200)
  expect(await read('control', token)).toBe(401)
})

test('no private part of a key is published, and a restart keeps all of them', async () => {
  const before = await kidsOf('exec')
  const { body } = await call<{ keys: object[] }>(`${hub.urls.exec}/.well-known/jwks.json`)
  for (const key of body.keys)
    expect(Object.keys(key).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x'])
  const old = hub.tokens.exec
  expect((await hub.stop()).code).toBe(0)
  hub = await startHub(home)
  expect(await kidsOf('exec')).toEqual(before)
  expect(await read('exec', old)).toBe(200)
  expect((await hub.stop()).code).toBe(0)
})
