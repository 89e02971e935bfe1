import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { afterEach, describe, expect, test } from 'vitest'
import { objectStoreConformance } from '../../../testing/object-store-conformance.ts'
import {
  HAS_S3,
  S3_KEYS,
  S3_REGION,
  S3_STRANGER,
  type S3Server,
  startS3,
} from '../../../testing/s3-server.ts'
import { startUpstream } from '../../../testing/upstream.ts'
import { Secret } from '../secret.ts'
import { createDiskStore } from './disk-store.ts'
import { StoreFailure } from './object-store.ts'
import { createS3Store } from './s3-store.ts'

const newFolder = () => mkdtemp(join(tmpdir(), 'orchestrator-test-objects-'))
const folders: string[] = []
const ownFolder = async (): Promise<string> => {
  const folder = await newFolder()
  folders.push(folder)
  return join(folder, 'payloads')
}
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

objectStoreConformance('disk', async () => {
  const folder = await newFolder()
  const inTheWay = join(folder, 'a file')
  await writeFile(inTheWay, '')
  return {
    store: createDiskStore({ folder: join(folder, 'objects') }),
    other: createDiskStore({ folder: join(folder, 'objects') }),
    broken: createDiskStore({ folder: join(inTheWay, 'objects') }),
    close: () => rm(folder, { recursive: true }),
  }
})

const CALL = { timeoutMs: 5_000, contentType: 'application/octet-stream', maxBytes: 1_000_000, limit: 10 }

describe('files', () => {
  test('are the owner’s alone, whoever made the folder', async () => {
    const folder = await ownFolder()
    await mkdir(folder)
    await chmod(folder, 0o755)
    await createDiskStore({ folder }).put('a/b/c', Buffer.from('x'), CALL)
    for (const [path, mode] of [
      ['', 0o700],
      ['a', 0o700],
      ['a/b', 0o700],
      ['a/b/c', 0o600],
    ] as const)
      expect((await stat(join(folder, path))).mode & 0o777, path).toBe(mode)
  })

  test('of a killed process are never seen, and go when they are old', async () => {
    const folder = await ownFolder()
    const code = `
      import { armFailPoints } from ${JSON.stringify(join(import.meta.dirname, '../fail-points.ts'))}
      import { createDiskStore } from ${JSON.stringify(join(import.meta.dirname, 'disk-store.ts'))}
      const store = createDiskStore({ folder: process.argv[1] })
      await store.put('a/whole', Buffer.alloc(70000, 'w'), { timeoutMs: 1000, contentType: 'x' })
      armFailPoints(['storage.before_rename'])
      await store.put('a/half', Buffer.alloc(70000, 'h'), { timeoutMs: 1000, contentType: 'x' })
    `
    const child = spawn(process.execPath, ['--input-type=module', '-e', code, folder], { stdio: 'inherit' })
    const [, signal] = await once(child, 'exit')
    expect(signal).toBe('SIGKILL')
    const store = createDiskStore({ folder })
    expect(await store.list('', CALL)).toEqual(['a/whole'])
    expect(await store.get('a/half', CALL)).toBeUndefined()
    expect(await store.get('a/whole', CALL)).toHaveLength(70_000)
    const [left = ''] = await readdir(join(folder, '.unfinished'))
    // Perhaps another process still writes it.
    await store.put('a/more', Buffer.from('x'), CALL)
    expect(await readdir(join(folder, '.unfinished'))).toEqual([left])
    const old = new Date(Date.now() - 2 * 3_600_000)
    await utimes(join(folder, '.unfinished', left), old, old)
    await createDiskStore({ folder }).put('a/more', Buffer.from('x'), CALL)
    expect(await readdir(join(folder, '.unfinished'))).toEqual([])
  })

  test('leave no folders behind', async () => {
    const folder = await ownFolder()
    const store = createDiskStore({ folder })
    await store.put('day/tenant/one', Buffer.from('x'), CALL)
    await store.put('day/other/two', Buffer.from('x'), CALL)
    await store.delete('day/tenant/one', CALL)
    expect(await readdir(join(folder, 'day'))).toEqual(['other'])
    await store.delete('day/other/two', CALL)
    expect(await readdir(folder)).toEqual(['.unfinished'])
  })

  test('where objects were kept, another empty folder is a disk that is not mounted', async () => {
    const folder = await ownFolder()
    const kept = createDiskStore({ folder, mayBegin: async () => false })
    await expect(kept.put('a/b', Buffer.from('x'), CALL)).rejects.toThrow(/mount its disk/)
    await expect(kept.get('a/b', CALL)).rejects.toBeInstanceOf(StoreFailure)
    await expect(kept.check(CALL)).rejects.toBeInstanceOf(StoreFailure)
    await expect(readdir(folder)).rejects.toThrow('ENOENT')
    // The disk is back, or somebody begins anew.
    await createDiskStore({ folder, mayBegin: async () => true }).put('a/b', Buffer.from('x'), CALL)
    await kept.put('a/c', Buffer.from('x'), CALL)
    expect(await kept.list('', CALL)).toEqual(['a/b', 'a/c'])
  })

  test('a folder in the place of an object is none', async () => {
    const folder = await ownFolder()
    const store = createDiskStore({ folder })
    await store.put('a/b', Buffer.from('x'), CALL)
    expect(await store.get('a', CALL)).toBeUndefined()
    await symlink('/etc', join(folder, 'out'))
    expect((await store.list('', CALL)).filter((key) => key.startsWith('out/'))).toEqual([])
  })
})

const s3To = (endpoint: string, bucket = 'payloads', keys = S3_KEYS) =>
  createS3Store({
    ...{ endpoint, bucket, region: S3_REGION },
    credentials: async () => ({
      accessKeyId: new Secret(keys.access_key_id),
      secretAccessKey: new Secret(keys.secret_access_key),
    }),
  })

describe.runIf(HAS_S3)('on a real S3 server', () => {
  let server: S3Server | undefined
  const started = async (): Promise<S3Server> => {
    if (server) return server
    server = await startS3()
    const admin = new S3Client({
      ...{ endpoint: server.endpoint, region: S3_REGION, forcePathStyle: true },
      credentials: { accessKeyId: S3_KEYS.access_key_id, secretAccessKey: S3_KEYS.secret_access_key },
    })
    await admin.send(new CreateBucketCommand({ Bucket: 'payloads' }))
    admin.destroy()
    return server
  }

  objectStoreConformance('s3', async () => {
    const { endpoint } = await started()
    return {
      store: s3To(endpoint),
      other: s3To(endpoint),
      broken: s3To(endpoint, 'nowhere'),
      close: async () => undefined,
    }
  })

  test('a link reads one object, as a file, for its time and with its signature alone', async () => {
    const { endpoint } = await started()
    const store = s3To(endpoint)
    await store.put('h/secret', Buffer.from('<script>'), CALL)
    const url = (await store.presignedUrl('h/secret', { expiresSeconds: 60, filename: 'payload.bin' })) ?? ''
    expect(new URL(url).searchParams.get('X-Amz-Expires')).toBe('60')
    const answer = await fetch(url)
    expect(await answer.text()).toBe('<script>')
    expect(answer.headers.get('content-disposition')).toBe('attachment; filename="payload.bin"')
    expect(answer.headers.get('content-type')).toBe('application/octet-stream')
    expect((await fetch(url.replace('secret', 'others'))).status).toBe(403)
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(403)
    expect(url).not.toContain(S3_KEYS.secret_access_key)
    await store.delete('h/secret', CALL)
  })

  test('wrong keys and foreign buckets are failures, and never an object that is missing', async () => {
    const { endpoint } = await started()
    const wrong = { ...S3_KEYS, secret_access_key: 'wrong-canary-1234' }
    for (const store of [
      s3To(endpoint, 'nowhere'),
      s3To(endpoint, 'payloads', wrong),
      s3To(endpoint, 'payloads', S3_STRANGER),
    ]) {
      const failed = await store.get('a/b', CALL).catch((error: unknown) => error)
      expect(failed).toBeInstanceOf(StoreFailure)
      expect(String(failed)).not.toMatch(/canary|a\/b/)
      await expect(store.delete('a/b', CALL)).rejects.toBeInstanceOf(StoreFailure)
      await expect(store.check(CALL)).rejects.toBeInstanceOf(StoreFailure)
    }
    await server?.stop()
  })
})

describe('an S3 server that misbehaves', () => {
  test.each([
    ['does not answer', () => undefined],
    ['breaks off', (response: { socket: { destroy(): void } | null }) => response.socket?.destroy()],
    [
      'is overloaded',
      (response: { writeHead(status: number): { end(): void } }) => response.writeHead(503).end(),
    ],
    [
      'answers with half an object',
      (response: {
        writeHead(status: number, headers: object): { write(text: string): void }
        destroy(): void
      }) => {
        response.writeHead(200, { 'content-length': '100' }).write('half')
        setImmediate(() => response.destroy())
      },
    ],
  ])('%s: a failure, after one request', async (_what, answer) => {
    const upstream = await startUpstream()
    upstream.reset(answer as never)
    const store = s3To(upstream.url)
    const failed = await store.get('a/b', { ...CALL, timeoutMs: 300 }).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(StoreFailure)
    expect(upstream.requests).toHaveLength(1)
    store.close()
    await upstream.close()
  })
})
