import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ObjectStore, StoreFailure } from '../src/platform/storage/object-store.ts'

const TIMEOUT = { timeoutMs: 20_000 }
const PUT = { ...TIMEOUT, contentType: 'application/octet-stream' }
const GET = { ...TIMEOUT, maxBytes: 11 * 1024 * 1024 }
const MIB = 1024 * 1024

export interface StoreUnderTest {
  readonly store: ObjectStore
  /** The same objects through another client: what another process would see. */
  readonly other: ObjectStore
  /** A store of the kind that cannot be reached or written. */
  readonly broken: ObjectStore
  close(): Promise<void>
}

/** What every object store does alike. `open` gives an empty one. */
export function objectStoreConformance(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let under: StoreUnderTest
    beforeAll(async () => {
      under = await open()
    })
    afterAll(() => under?.close())

    test.each([0, 1, 1_023, 65_537, MIB, 10 * MIB])(
      '%i bytes come back as they went in, to another process, too',
      async (size) => {
        const bytes = randomBytes(size)
        const key = `sizes/${size}`
        await under.store.put(key, bytes, PUT)
        expect((await under.other.get(key, GET))?.equals(bytes)).toBe(true)
        await under.store.delete(key, TIMEOUT)
        expect(await under.other.get(key, GET)).toBeUndefined()
      },
    )

    test('every byte is kept as it is', async () => {
      const bytes = Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256))
      await under.store.put('bytes/all', bytes, PUT)
      expect(await under.store.get('bytes/all', GET)).toEqual(bytes)
      await under.store.delete('bytes/all', TIMEOUT)
    })

    test('the same key again is the newest whole object; readers meanwhile get the one or the other', async () => {
      const [old, young] = [Buffer.alloc(MIB, 'a'), Buffer.alloc(MIB + 7, 'b')]
      await under.store.put('again/it', old, PUT)
      const seen = new Set<number | undefined>()
      let writing = true
      const reader = (async () => {
        while (writing) {
          const bytes = await under.other.get('again/it', GET)
          seen.add(bytes?.length)
          expect(bytes?.equals(old) || bytes?.equals(young)).toBe(true)
        }
      })()
      for (let round = 0; round < 5; round += 1)
        await under.store.put('again/it', round % 2 === 0 ? young : old, PUT)
      writing = false
      await reader
      expect([...seen].every((size) => size === old.length || size === young.length)).toBe(true)
      expect(await under.other.get('again/it', GET)).toEqual(young)
      await under.store.delete('again/it', TIMEOUT)
    })

    test('what is not there: nothing to read, and no error to delete', async () => {
      expect(await under.store.get('not/there', GET)).toBeUndefined()
      expect(await under.store.get('not', GET)).toBeUndefined()
      for (let time = 0; time < 2; time += 1) await under.store.delete('not/there', TIMEOUT)
    })

    test('an object that is larger than expected is not read', async () => {
      await under.store.put('large/it', Buffer.alloc(1_000), PUT)
      const failed = under.store.get('large/it', { ...TIMEOUT, maxBytes: 999 })
      await expect(failed).rejects.toBeInstanceOf(StoreFailure)
      expect(await under.store.get('large/it', { ...TIMEOUT, maxBytes: 1_000 })).toHaveLength(1_000)
      await under.store.delete('large/it', TIMEOUT)
    })

    test('lists page by page, in the order of the bytes, below whole folders alone', async () => {
      const keys = ['l/a', 'l/a-b', 'l/a.b/1', 'l/a/1', 'l/a/2', 'l/a0', 'l/B', 'l/b/c/d', 'l2/x']
      for (const key of keys)
        await under.store.put(key, Buffer.from(key), PUT).catch((error: unknown) => {
          // On a disk a name is a file or a folder: our own keys never ask for both.
          if (key !== 'l/a/1' && key !== 'l/a/2') throw error
        })
      const all: string[] = []
      let after: string | undefined
      for (;;) {
        const page = await under.other.list('l/', { ...TIMEOUT, after, limit: 2 })
        all.push(...page)
        after = page.at(-1)
        if (page.length < 2) break
      }
      const expected = all.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      expect(all).toEqual(expected)
      expect(all).toEqual(expect.arrayContaining(['l/a', 'l/a-b', 'l/a.b/1', 'l/a0', 'l/B', 'l/b/c/d']))
      expect(all).not.toContain('l2/x')
      expect(await under.store.list('l2/', { ...TIMEOUT, limit: 1_000 })).toEqual(['l2/x'])
      expect(await under.store.list('none/', { ...TIMEOUT, limit: 10 })).toEqual([])
      expect(await under.store.list('l/', { ...TIMEOUT, after: 'l/zzz', limit: 10 })).toEqual([])
      for (const key of [...all, 'l2/x']) await under.store.delete(key, TIMEOUT)
      expect(await under.store.list('', { ...TIMEOUT, limit: 10 })).toEqual([])
    })

    const ODD = [
      ...[
        '',
        '/',
        '/etc/passwd',
        'a/',
        'a//b',
        '..',
        '../x',
        'a/../b',
        'a/..',
        './a',
        '.hidden',
        'a/.hidden',
      ],
      ...['%2e%2e/x', 'a\\b', 'a\0b', 'a\nb', 'a b', 'ü', 'x'.repeat(513), '~', 'a:b', 'a?b', 'a#b'],
    ]
    test.each(ODD)('the key %j is refused by everything, and nothing is written', async (key) => {
      const { store } = under
      const refused = (work: () => unknown) =>
        expect((async () => work())(), key).rejects.toBeInstanceOf(RangeError)
      await refused(() => store.put(key, Buffer.from('x'), PUT))
      await refused(() => store.get(key, GET))
      await refused(() => store.delete(key, TIMEOUT))
      if (key !== '' && key !== 'a/') await refused(() => store.list(key, { ...TIMEOUT, limit: 1 }))
      expect(await store.list('', { ...TIMEOUT, limit: 1 })).toEqual([])
    })

    test('many at once, the same and different ones', async () => {
      const keys = Array.from({ length: 24 }, (_, at) => `many/${at % 8}/${at % 12}`)
      await Promise.all(keys.map((key) => under.store.put(key, Buffer.from(key), PUT)))
      await Promise.all(keys.map(async (key) => expect(String(await under.other.get(key, GET))).toBe(key)))
      await Promise.all(keys.map((key) => under.store.delete(key, TIMEOUT)))
      expect(await under.store.list('', { ...TIMEOUT, limit: 1 })).toEqual([])
    })

    test('puts beside deletes in the same folder: what was put is there', async () => {
      for (let round = 0; round < 10; round += 1) {
        await under.store.put('side/a', Buffer.from('a'), PUT)
        await Promise.all([
          under.store.delete('side/a', TIMEOUT),
          under.store.put('side/b', Buffer.from('b'), PUT),
        ])
        expect(String(await under.other.get('side/b', GET))).toBe('b')
        await under.store.delete('side/b', TIMEOUT)
      }
    })

    test('a store that is away says so, with no word about keys', async () => {
      const { broken } = under
      const short = { timeoutMs: 2_000 }
      const calls = [
        () => broken.put('secret-name/x', Buffer.from('x'), { ...PUT, ...short }),
        () => broken.check(short),
      ]
      for (const call of calls) {
        const error = await call().then(
          () => undefined,
          (failure: unknown) => failure,
        )
        expect(error).toBeInstanceOf(StoreFailure)
        expect(String(error)).not.toContain('secret-name')
      }
      await under.store.check(TIMEOUT)
    })

    test('a link lives five minutes at most and its file has a plain name', async () => {
      await under.store.put('link/it', Buffer.from('x'), PUT)
      const link = (expiresSeconds: number, filename = 'a.bin') =>
        under.store.presignedUrl('link/it', { expiresSeconds, filename })
      if ((await link(60)) === undefined) expect(under.store.name).toBe('disk')
      else {
        for (const seconds of [0, 301, 1.5])
          await expect((async () => link(seconds))()).rejects.toThrow(RangeError)
        for (const name of ['a"b', '../a', 'a\r\nb', ''])
          await expect((async () => link(60, name))()).rejects.toThrow(RangeError)
      }
      await under.store.delete('link/it', TIMEOUT)
    })
  })
}
