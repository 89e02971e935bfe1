import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from './clock.ts'
import { associatedData } from './envelope/cipher.ts'
import { envKeys } from './envelope/env-keys.ts'
import { type FileKeys, fileKeys } from './envelope/file-keys.ts'
import { isExampleKey } from './envelope/local-key.ts'
import { parseSealed } from './envelope/sealed.ts'
import { openEnvelope } from './envelope.ts'
import { createLog } from './log.ts'
import { Secret } from './secret.ts'

const CONTEXT = ['secret', 'tenant-1', 'stripe', '1']
const base64Key = () => new Secret(randomBytes(32).toString('base64'))
const fromEnv = (current: Secret | undefined, ...previous: Secret[]) =>
  openEnvelope({ keys: envKeys({ current, previous, where: 'KEK' }) })

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-kek-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))
const open = (): FileKeys => fileKeys({ folder, clock: systemClock, log: createLog('test', 'silent') })
const path = () => join(folder, 'secrets.json')

describe('a sealed value', () => {
  const envelope = fromEnv(base64Key())

  it('opens to what it was, whatever text it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 200 }), async (text) => {
        const sealed = await envelope.seal(new Secret(text), CONTEXT)
        expect((await envelope.open(sealed, CONTEXT)).reveal()).toBe(text)
      }),
      { numRuns: 50 },
    )
  })

  it('holds nothing of the value and is different every time', async () => {
    const value = new Secret('CANARY-of-the-envelope')
    const [one, two] = [await envelope.seal(value, CONTEXT), await envelope.seal(value, CONTEXT)]
    expect(one.includes('CANARY')).toBe(false)
    expect(parseSealed(one).encrypted.equals(parseSealed(two).encrypted)).toBe(false)
    expect(parseSealed(one).wrapped.equals(parseSealed(two).wrapped)).toBe(false)
  })

  it('does not open in any other context, also not in one that is cut elsewhere', async () => {
    const sealed = await envelope.seal(new Secret('v'), CONTEXT)
    for (const other of [
      ['secret', 'tenant-2', 'stripe', '1'],
      ['secret', 'tenant-1', 'other', '1'],
      ['secret', 'tenant-1', 'stripe', '2'],
      ['secret', 'tenant-1', 'stripe1', ''],
      ['secret', 'tenant-1stripe', '1'],
      ['secret', 'tenant-1', 'stripe', '1', ''],
      ['totp', 'tenant-1', 'stripe', '1'],
    ])
      await expect(envelope.open(sealed, other)).rejects.toMatchObject({ reason: 'not_authentic' })
    await expect(envelope.open(sealed, [])).rejects.toThrow(TypeError)
  })

  it('does not open when any byte of it is another one', async () => {
    const sealed = await envelope.seal(new Secret('v'), CONTEXT)
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Buffer.from(sealed)
      changed[at] = (changed[at] ?? 0) ^ 1
      await expect(envelope.open(changed, CONTEXT), `byte ${at}`).rejects.toMatchObject({
        name: 'EnvelopeFailure',
      })
    }
    for (let length = 0; length < sealed.length; length += 1)
      await expect(envelope.open(sealed.subarray(0, length), CONTEXT)).rejects.toMatchObject({
        name: 'EnvelopeFailure',
      })
  })

  it('does not open with the data key of another value, though the key-encryption key is the same', async () => {
    const mine = await envelope.seal(new Secret('mine'), CONTEXT)
    const theirs = await envelope.seal(new Secret('theirs'), ['secret', 'tenant-2', 'stripe', '1'])
    const head = theirs.length - parseSealed(theirs).encrypted.length
    const mixed = Buffer.concat([mine.subarray(0, head), theirs.subarray(head)])
    await expect(envelope.open(mixed, CONTEXT)).rejects.toMatchObject({ reason: 'not_authentic' })
  })

  it('has a context that no other parts give', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string(), { minLength: 1 }),
        fc.array(fc.string(), { minLength: 1 }),
        (a, b) => {
          const same = JSON.stringify(a) === JSON.stringify(b)
          expect(associatedData('value', a).equals(associatedData('value', b))).toBe(same)
          expect(associatedData('value', a).equals(associatedData('key', a))).toBe(false)
        },
      ),
    )
  })
})

describe('a new key-encryption key', () => {
  it('opens what the previous one sealed and rewraps the data key alone', async () => {
    const [old, fresh] = [base64Key(), base64Key()]
    const sealed = await fromEnv(old).seal(new Secret('v'), CONTEXT)
    const both = fromEnv(fresh, old)
    expect((await both.open(sealed, CONTEXT)).reveal()).toBe('v')
    expect(both.needsRewrap(sealed)).toBe(true)
    const again = await both.rewrap(sealed, CONTEXT)
    expect(both.needsRewrap(again)).toBe(false)
    expect(parseSealed(again).encrypted).toEqual(parseSealed(sealed).encrypted)
    expect((await fromEnv(fresh).open(again, CONTEXT)).reveal()).toBe('v')
    await expect(fromEnv(fresh).open(sealed, CONTEXT)).rejects.toMatchObject({ reason: 'key_missing' })
  })

  it('never hides that a value is broken by rewrapping it', async () => {
    const envelope = fromEnv(base64Key())
    const sealed = await envelope.seal(new Secret('v'), CONTEXT)
    sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1
    await expect(envelope.rewrap(sealed, CONTEXT)).rejects.toMatchObject({ reason: 'not_authentic' })
  })
})

describe('keys from the environment', () => {
  it('seal nothing without a current one, and still open with a previous one', async () => {
    const old = base64Key()
    const sealed = await fromEnv(old).seal(new Secret('v'), CONTEXT)
    const without = fromEnv(undefined, old)
    expect((await without.open(sealed, CONTEXT)).reveal()).toBe('v')
    await expect(without.seal(new Secret('v'), CONTEXT)).rejects.toMatchObject({ reason: 'key_missing' })
    await expect(without.check()).rejects.toThrow('KEK')
  })

  it.each(['', 'x'.repeat(44), 'AAAA', `${'A'.repeat(43)}==`])('must be base64 of 32 bytes: %j', (text) => {
    expect(() => fromEnv(new Secret(text))).toThrow('must hold base64 of 32 bytes')
  })

  it('are told from examples that people type', () => {
    for (const example of [
      Buffer.alloc(32),
      Buffer.alloc(32, 7),
      Buffer.from('example-key-do-not-use-in-prod!!'),
      Buffer.from(Array.from({ length: 32 }, (_, at) => at)),
    ])
      expect(isExampleKey(example)).toBe(true)
    for (let n = 0; n < 1_000; n += 1) expect(isExampleKey(randomBytes(32))).toBe(false)
  })
})

describe('keys in a file', () => {
  it('are made once by processes that start at the same time, for their owner alone', async () => {
    const several = [open(), open(), open(), open()]
    await Promise.all(several.map((keys) => keys.refresh()))
    expect(new Set(several.map((keys) => keys.current())).size).toBe(1)
    expect((await stat(path())).mode & 0o777).toBe(0o600)
  })

  it('are known to every process after a rotation, without a restart', async () => {
    const [one, two] = [open(), open()]
    await Promise.all([one.refresh(), two.refresh()])
    const before = await openEnvelope({ keys: two }).seal(new Secret('old'), CONTEXT)
    const id = await one.rotate()
    const after = await openEnvelope({ keys: one }).seal(new Secret('new'), CONTEXT)
    expect((await openEnvelope({ keys: two }).open(after, CONTEXT)).reveal()).toBe('new')
    expect((await openEnvelope({ keys: one }).open(before, CONTEXT)).reveal()).toBe('old')
    expect(parseSealed(await openEnvelope({ keys: two }).seal(new Secret('v'), CONTEXT)).keyId).toBe(id)
  })

  it('all stay when several rotate at once', async () => {
    const several = [open(), open(), open()]
    const ids = await Promise.all(several.map((keys) => keys.rotate()))
    const file = JSON.parse(await readFile(path(), 'utf8'))
    expect(file.keys.map(({ id }: { id: string }) => id)).toEqual(expect.arrayContaining(ids))
    expect(file.keys).toHaveLength(4)
  })

  it('of the past can be removed, and what they sealed says which one is missing', async () => {
    const keys = open()
    const sealed = await openEnvelope({ keys }).seal(new Secret('v'), CONTEXT)
    await keys.rotate()
    const [gone] = await keys.forgetOthers()
    await expect(openEnvelope({ keys: open() }).open(sealed, CONTEXT)).rejects.toMatchObject({
      reason: 'key_missing',
      message: expect.stringContaining(`${gone}`),
    })
  })

  it('that are gone still open what this process knows, and seal nothing that nobody could open later', async () => {
    const keys = open()
    const envelope = openEnvelope({ keys })
    const sealed = await envelope.seal(new Secret('v'), CONTEXT)
    await rename(path(), `${path()}.away`)
    expect((await envelope.open(sealed, CONTEXT)).reveal()).toBe('v')
    await expect(envelope.check()).rejects.toMatchObject({ reason: 'key_missing' })
    await expect(openEnvelope({ keys: open() }).open(sealed, CONTEXT)).rejects.toMatchObject({
      reason: 'key_missing',
    })
    await rename(`${path()}.away`, path())
    await envelope.check()
  })

  it('are never quoted when the file is broken', async () => {
    const keys = open()
    await keys.refresh()
    const text = await readFile(path(), 'utf8')
    const { key } = JSON.parse(text).keys[0]
    await writeFile(path(), `${text.slice(0, -4)}`)
    await chmod(path(), 0o600)
    const error = await open()
      .refresh()
      .catch((caught: Error) => caught)
    expect(error).toMatchObject({ reason: 'key_missing' })
    expect(JSON.stringify([error, String((error as Error).cause)])).not.toContain(key)
  })
})
