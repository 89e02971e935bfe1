import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { testEnvelope } from '../../../../testing/secret-stores.ts'
import { startVaultServer, type VaultServer } from '../../../../testing/vault-server.ts'
import { createDial, type Dial } from '../../../platform/dial/dial.ts'
import { newId } from '../../../platform/ids.ts'
import { Secret } from '../../../platform/secret.ts'
import { createVault, type Vault } from '../../../platform/vault.ts'
import { sealForStore } from '../stored-values.ts'
import { openSecretStores, type ReadRef, refFault, SECRET_STORES } from './registry.ts'
import { MAX_SECRET_BYTES } from './store.ts'

let root: string
let folder: string
let variables: Map<string, string>
let readRef: ReadRef
let database: TestDatabase
let vault: VaultServer
let dial: Dial
let client: Vault
let prefix: string
const envelope = testEnvelope()
const ids = new Map<string, string>()

beforeAll(async () => {
  database = await testDatabase()
  vault = await startVaultServer()
  const { metrics, log } = database.platform
  dial = createDial({ allowCidrs: ['127.0.0.1/32'], metrics, log })
})
afterAll(async () => {
  await dial.close()
  await vault.close()
  await database.drop()
})

/** The id of a workspace; it is made when there is none. */
async function idOf(slug: string): Promise<string> {
  const known = ids.get(slug)
  if (known !== undefined) return known
  const id = newId()
  ids.set(slug, id)
  await query('insert into workspace (id, slug, name, environment) values ($1, $2, $2, $3)', [
    id,
    `w${id.replaceAll('-', '')}-dev`,
    'dev',
  ])
  return id
}
const query = (text: string, values: readonly unknown[]) => database.db.execute({ name: '', text }, values)
const ownerOf = async (slug: string) => ({ id: await idOf(slug), slug })

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'orchestrator-test-secrets-'))
  folder = join(root, 'secrets')
  await mkdir(folder)
  variables = new Map()
  const { db, platform } = database
  prefix = `hub/${newId()}`
  const login = { method: 'token', token: async () => new Secret(vault.newToken()) } as const
  client = createVault({ ...platform, address: vault.url, login, namespace: undefined, dial })
  readRef = openSecretStores({ db, envelope, variables, folder, vault: { client, prefix } })
  ids.clear()
  await query('delete from secret_ref', [])
  await query('delete from workspace', [])
})
afterEach(async () => {
  client.close()
  await rm(root, { recursive: true, force: true })
})

const plantFile = async (slug: string, name: string, value: string | Buffer) => {
  await mkdir(join(folder, slug), { recursive: true })
  await writeFile(join(folder, slug, name), value)
}

/** How a value gets into each store, as an operator would do it. A new store needs an entry here. */
const FIXTURES: Record<
  string,
  {
    address: string
    other: string
    invalid: string[]
    plant: (slug: string, address: string, value: string) => Promise<void>
  }
> = {
  env: {
    address: 'STRIPE_KEY',
    other: 'OTHER_KEY',
    invalid: ['stripe_key', '1KEY', 'A-B', 'A B', 'A.B', 'PATH\n', 'A'.repeat(101)],
    plant: async (slug, address, value) => {
      variables.set(`ORCH_SECRET__${slug.toUpperCase().replaceAll('-', '_')}__${address}`, value)
    },
  },
  file: {
    address: 'stripe-key',
    other: 'other.key',
    invalid: ['..', '.hidden', '../x/key', '/etc/passwd', 'a/b', 'a%2fb', 'a\\b', 'a\u0000', 'a'.repeat(101)],
    plant: plantFile,
  },
  store: {
    address: 'stripe-key',
    other: 'other',
    invalid: ['Stripe', 'a_b', '-a', 'a-', 'a--b', 'a/b', 'a.b', 'a@1', 'a#b', 'a'.repeat(64)],
    plant: async (slug, name, value) => {
      const key = { tenantId: await idOf(slug), name }
      const version = 1
      await query('delete from secret_ref where tenant_id = $1 and name = $2', [key.tenantId, name])
      await query(`insert into secret_ref (tenant_id, name, ref) values ($1, $2, 'store://' || $2)`, [
        key.tenantId,
        name,
      ])
      const { sealed, keyId } = await sealForStore(envelope, { ...key, version, value: new Secret(value) })
      await query(
        `insert into secret_value (tenant_id, name, version, sealed, key_id, state, created_by)
         values ($1, $2, $3, $4, $5, 'active', 'test')`,
        [key.tenantId, name, version, sealed, keyId],
      )
    },
  },
  vault: {
    address: 'kv/payments/stripe#key',
    other: 'kv/payments/stripe#other',
    invalid: [
      'kv',
      'kv/x',
      'kv#key',
      'kv/x#',
      'kv/../x#key',
      'kv/./x#key',
      'kv//x#key',
      '/kv/x#key',
      'kv/x/#key',
      'kv/x?list=true#key',
      'kv/x%2f..#key',
      'kv/x#key#key',
      `kv${'/x'.repeat(9)}#key`,
    ],
    plant: async (slug, address, value) => {
      const [path = '', field = ''] = address.split('#')
      vault.write(`${prefix}/${slug}/${path.slice('kv/'.length)}`, { [field]: value })
    },
  },
}

const resolved = async (slug: string, ref: string): Promise<string> => {
  const found = await readRef(await ownerOf(slug), ref)
  if ('why' in found) throw new Error(`not resolved: ${found.why}`)
  return found[0].reveal()
}
const whyNot = async (slug: string, ref: string): Promise<string> => {
  const found = await readRef(await ownerOf(slug), ref)
  if (!('why' in found)) throw new Error('it resolved')
  return found.why
}

describe.each(SECRET_STORES.map(({ scheme }) => scheme))('every secret store: %s', (scheme) => {
  const fixture = FIXTURES[scheme]
  if (!fixture) throw new Error(`the store ${scheme} has no fixture`)
  const { address, other, invalid, plant } = fixture
  const ref = `${scheme}://${address}`

  it('gives the value, branded as a secret', async () => {
    await plant('buildos-dev', address, 'the value')
    expect(await resolved('buildos-dev', ref)).toBe('the value')
    expect(`${await readRef(await ownerOf('buildos-dev'), ref)}`).toBe('[secret]')
  })

  it('keeps the same address of two workspaces apart', async () => {
    await plant('buildos-dev', address, 'of buildos')
    await plant('beauty-dev', address, 'of beauty')
    expect(await resolved('buildos-dev', ref)).toBe('of buildos')
    expect(await resolved('beauty-dev', ref)).toBe('of beauty')
    await plant('beauty-dev', other, 'of beauty alone')
    expect(await whyNot('buildos-dev', `${scheme}://${other}`)).not.toContain('of beauty')
  })

  it('keeps workspaces apart whose names begin alike', async () => {
    await plant('build-os-dev', address, 'of build-os')
    for (const slug of ['build-dev', 'buildos-dev', 'build-os', 'os-dev'])
      expect(await whyNot(slug, ref)).toMatch(/^(the|there)/)
  })

  it('keeps every character of the value', async () => {
    const value = ' päss\tword "quoted" = # \\n 🔑 '
    await plant('buildos-dev', address, value)
    expect(await resolved('buildos-dev', ref)).toBe(value)
  })

  it('says why there is no value and never what another one is', async () => {
    expect(await whyNot('buildos-dev', ref)).toMatch(/not set|there is no such|there is no value/)
  })

  it('takes no empty value and none over 64 KiB', async () => {
    await plant('buildos-dev', address, '')
    expect(await whyNot('buildos-dev', ref)).toBe('the value is empty')
    await plant('buildos-dev', address, 'x'.repeat(MAX_SECRET_BYTES))
    expect(await resolved('buildos-dev', ref)).toHaveLength(MAX_SECRET_BYTES)
    await plant('buildos-dev', address, 'x'.repeat(MAX_SECRET_BYTES + 1))
    expect(await whyNot('buildos-dev', ref)).toBe('the value is larger than 65536 bytes')
  })

  it.each(invalid)('refuses the address %j, when it is saved and when it is read', async (bad) => {
    expect(refFault(`${scheme}://${bad}`)).toMatch(/^must say where the value is/)
    expect(refFault(`${scheme}://${bad}`)).not.toContain(bad)
    expect(await whyNot('buildos-dev', `${scheme}://${bad}`)).toBe(
      'this version of the hub cannot read the ref',
    )
  })

  it('takes its own addresses and leaves none empty', () => {
    expect([refFault(ref), refFault(`${scheme}://${other}`)]).toEqual([undefined, undefined])
    expect(refFault(`${scheme}://`)).toBeDefined()
  })
})

describe('a ref', () => {
  it.each([
    'sk_live_51HxYzAbCdEfGh',
    'env:/STRIPE_KEY',
    'env//STRIPE_KEY',
    'ENV://STRIPE_KEY',
    'http://127.0.0.1/key',
    'constructor://x',
    '://x',
    '',
    'file://sk_live_51HxYz',
    'file://sk_test_51HxYz',
    'file://whsec_abc',
    'file://ghp_abc',
    'file://xoxb-1',
    'file://eyJhbGciOiJIUzI1NiJ9.e30.x',
  ])('that is a value or leads nowhere is refused without repeating it: %s', (ref) => {
    expect(refFault(ref)).toBeDefined()
    expect(refFault(ref)).not.toContain(ref.split('//').at(-1) || 'nothing')
  })
})

describe('file://', () => {
  const ref = 'file://key'

  it.each([
    ['one newline', 'v\n', 'v'],
    ['one newline of Windows', 'v\r\n', 'v'],
    ['two newlines', 'v\n\n', 'v\n'],
    ['a carriage return', 'v\r', 'v\r'],
    ['newlines inside', '-----BEGIN\nx\n-----END\n', '-----BEGIN\nx\n-----END'],
  ])('drops the newline at the end and nothing else: %s', async (_name, content, value) => {
    await plantFile('buildos-dev', 'key', content)
    expect(await resolved('buildos-dev', ref)).toBe(value)
  })

  it('does not count the newline as part of 64 KiB, nor as a value', async () => {
    await plantFile('buildos-dev', 'key', `${'x'.repeat(MAX_SECRET_BYTES)}\r\n`)
    expect(await resolved('buildos-dev', ref)).toHaveLength(MAX_SECRET_BYTES)
    await plantFile('buildos-dev', 'key', '\n')
    expect(await whyNot('buildos-dev', ref)).toBe('the value is empty')
  })

  it('refuses what is not text', async () => {
    await plantFile('buildos-dev', 'key', Buffer.from([0xff, 0xfe, 0x00]))
    expect(await whyNot('buildos-dev', ref)).toBe('the value is not UTF-8 text')
  })

  it('follows links inside the folder, as Kubernetes makes them', async () => {
    await mkdir(join(folder, 'buildos-dev', '..2026_11'), { recursive: true })
    await writeFile(join(folder, 'buildos-dev', '..2026_11', 'key'), 'mounted')
    await symlink('..2026_11', join(folder, 'buildos-dev', '..data'))
    await symlink('..data/key', join(folder, 'buildos-dev', 'key'))
    expect(await resolved('buildos-dev', ref)).toBe('mounted')
  })

  it.each([
    ['an absolute path', () => join(root, 'outside')],
    ['a relative path', () => '../../outside'],
    ['another workspace', () => '../beauty-dev/key'],
    ['a folder whose name begins alike', () => '../buildos-dev-2/key'],
  ])('does not follow a link to %s', async (_name, target) => {
    await writeFile(join(root, 'outside'), 'outside')
    await plantFile('beauty-dev', 'key', 'of beauty')
    await plantFile('buildos-dev-2', 'key', 'of another')
    await mkdir(join(folder, 'buildos-dev'))
    await symlink(target(), join(folder, 'buildos-dev', 'key'))
    expect(await whyNot('buildos-dev', ref)).toBe('the file leads out of the folder of this workspace')
  })

  it('does not take the folder of another workspace for its own', async () => {
    await plantFile('beauty-dev', 'key', 'of beauty')
    await symlink('beauty-dev', join(folder, 'buildos-dev'))
    expect(await whyNot('buildos-dev', ref)).toBe('the file leads out of the folder of this workspace')
  })

  it('works when the root of all folders is a link', async () => {
    await plantFile('buildos-dev', 'key', 'v')
    await rename(folder, join(root, 'real'))
    await symlink('real', folder)
    expect(await resolved('buildos-dev', ref)).toBe('v')
  })

  it('neither hangs on a pipe nor reads a folder, and survives links that go in circles', async () => {
    await mkdir(join(folder, 'buildos-dev', 'folder'), { recursive: true })
    execFileSync('mkfifo', [join(folder, 'buildos-dev', 'pipe')])
    await symlink('circle', join(folder, 'buildos-dev', 'circle'))
    expect(await whyNot('buildos-dev', 'file://folder')).toBe('it is not a regular file')
    expect(await whyNot('buildos-dev', 'file://pipe')).toBe('it is not a regular file')
    expect(await whyNot('buildos-dev', 'file://circle')).toBe('the file is a link that leads nowhere')
  })
})
