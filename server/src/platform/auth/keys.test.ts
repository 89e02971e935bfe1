import { chmod, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type ManualClock, manualClock } from '../../../testing/manual-clock.ts'
import { systemClock } from '../clock.ts'
import { type KeysOptions, openKeys } from './keys.ts'

const NEVER_MS = 2_000_000_000

let folder: string
let clock: ManualClock

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'orch-keys-')), 'keys')
  clock = manualClock()
})
afterEach(async () => {
  await rm(join(folder, '..'), { recursive: true, force: true })
})

/** Without a poll of its own unless asked: the tests say when the file is looked at. */
async function opened(options: Partial<KeysOptions> = {}) {
  const captured = capturedLog()
  const keys = await openKeys({
    folder,
    name: 'exec',
    maxTokenAgeSeconds: 600,
    clock,
    log: captured.log,
    pollMs: NEVER_MS,
    ...options,
  })
  onTestFinished(() => keys.close())
  return { keys, captured }
}

const path = () => join(folder, 'exec.json')
const kidsOf = (keys: { jwks(): { keys: readonly { kid: string }[] } }) =>
  keys.jwks().keys.map(({ kid }) => kid)

describe('signing keys on disk', () => {
  it('are made on the first start, for the owner only, and found on the second', async () => {
    const { keys: first } = await opened()
    expect((await stat(path())).mode & 0o777).toBe(0o600)
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    const { keys: second } = await opened()
    expect(second.signer().kid).toBe(first.signer().kid)
    expect(await readdir(folder)).toEqual(['exec.json'])
  })

  it('are the same for processes that start at the same moment', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => opened({ clock: systemClock })))
    expect(new Set(all.map(({ keys }) => keys.signer().kid)).size).toBe(1)
  })

  it('differ between audiences', async () => {
    const { keys: exec } = await opened()
    const { keys: control } = await opened({ name: 'control' })
    expect(control.accepts(exec.signer().kid)).toBe(false)
  })

  it('take the rights of others away from a file that was left open', async () => {
    await opened()
    await chmod(path(), 0o644)
    await opened()
    expect((await stat(path())).mode & 0o777).toBe(0o600)
  })

  it('refuse to start on a broken file and leave it as it is', async () => {
    await opened()
    await writeFile(path(), '{"keys": [{"d": "private-part"')
    const failure = await opened().catch((error: Error) => error)
    expect(failure).toBeInstanceOf(Error)
    expect((failure as Error).message).toContain('exec.json')
    expect((failure as Error).message).not.toContain('private-part')
    expect(await readFile(path(), 'utf8')).toContain('private-part')
  })

  it('come free from a lock whose holder died', async () => {
    const { keys } = await opened()
    await writeFile(`${path()}.lock`, '')
    let rotated = false
    const rotation = keys.rotate().finally(() => {
      rotated = true
    })
    // Files take real time: the clock moves only while the lock is waited for.
    while (!rotated) await (clock.sleeping > 0 ? clock.advance(1_000) : turn())
    await rotation
    expect(await readdir(folder)).toEqual(['exec.json'])
    expect(kidsOf(keys)).toHaveLength(2)
  })
})

describe('rotation', () => {
  it('is seen by another process within its poll, before the new key signs', async () => {
    const { keys: here } = await opened()
    const { keys: there } = await opened({ pollMs: 10 })
    const old = here.signer().kid
    const { kid, signsFrom } = await here.rotate()
    await vi.waitFor(() => expect(there.accepts(kid)).toBe(true))
    expect([here.signer().kid, there.signer().kid]).toEqual([old, old])
    await clock.advance(signsFrom.getTime() - clock.now())
    expect([here.signer().kid, there.signer().kid]).toEqual([kid, kid])
  })

  it('is seen by a process that has not polled yet when a token with the new key comes', async () => {
    const { keys: here } = await opened()
    const { keys: there } = await opened()
    const { kid } = await here.rotate()
    expect(there.accepts(kid)).toBe(false)
    expect(await there.publicKey(kid)).toBeDefined()
  })

  it('is looked for at most once a second, however many unknown keys are named', async () => {
    const { keys: here } = await opened()
    const { keys: there } = await opened()
    expect(await there.publicKey('unknown')).toBeUndefined()
    const { kid } = await here.rotate()
    expect(await there.publicKey(kid)).toBeUndefined()
    await clock.advance(1_000)
    expect(await there.publicKey(kid)).toBeDefined()
  })

  it('drops the old key, also its private part on disk, when its last token has expired', async () => {
    const { keys } = await opened()
    const old = keys.signer().kid
    const { kid } = await keys.rotate()
    await clock.advance(60_000 + 605_000 - 1)
    await keys.refresh()
    expect(kidsOf(keys)).toEqual([old, kid])
    await clock.advance(1)
    expect(keys.accepts(old)).toBe(false)
    await keys.refresh()
    expect(await readFile(path(), 'utf8')).not.toContain(old)
    expect(kidsOf(keys)).toEqual([kid])
  })

  it('loses no key when two processes rotate at once', async () => {
    const { keys: one } = await opened({ clock: systemClock })
    const { keys: two } = await opened({ clock: systemClock })
    const [first, second] = await Promise.all([one.rotate(), two.rotate()])
    const { keys: third } = await opened({ clock: systemClock })
    expect(kidsOf(third)).toEqual(expect.arrayContaining([first.kid, second.kid]))
    expect(kidsOf(third)).toHaveLength(3)
  })

  it('keeps the last good keys when the file breaks, says so once and recovers', async () => {
    const { keys, captured } = await opened()
    const { kid } = keys.signer()
    const good = await readFile(path(), 'utf8')
    await writeFile(path(), 'broken')
    await keys.refresh()
    await keys.refresh()
    expect(keys.signer().kid).toBe(kid)
    expect(captured.lines().filter(({ level }) => level === 'error')).toHaveLength(1)
    await writeFile(path(), good)
    await utimes(path(), 1, 1)
    await keys.refresh()
    expect(keys.accepts(kid)).toBe(true)
    await keys.rotate()
    expect(kidsOf(keys)).toHaveLength(2)
  })

  it('publishes no private part', async () => {
    const { keys } = await opened()
    expect(Object.keys(keys.jwks().keys[0] ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x'])
  })
})
