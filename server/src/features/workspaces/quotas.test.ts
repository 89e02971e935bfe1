import { Value } from 'typebox/value'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit } from '../audit/audit.ts'
import { activeVersion, ConfigDocument, firstConfig } from '../configs/configs.ts'
import { createIdentity, revokeIdentity } from '../identities/identities.ts'

import {
  createWorkspace,
  DEFAULT_QUOTAS,
  QUOTAS,
  quotasOf,
  requireRoom,
  setQuotas,
  TEMPLATES,
  templateOf,
  type Workspace,
} from './workspaces.ts'

let database: TestDatabase
const deps = () => ({ db: database.db, environment: 'dev' as const })
beforeAll(async () => {
  database = await testDatabase()
})
afterAll(() => database.drop())

let count = 0
const made = (template = 'empty'): Promise<Workspace> => {
  count += 1
  return createWorkspace(deps(), { slug: `full${count}-dev`, name: 'Full' }, CHANGE, {
    template,
    firstConfig,
  })
}
const identity = (tenantId: string, name: string) =>
  createIdentity(database.db, { tenantId, name, scopes: ['orchestrator.execute'] }, CHANGE)

describe('a template', () => {
  it.each(TEMPLATES.map((template) => [template.name, template] as const))(
    '%s is a config that may be stored',
    (_name, { policies }) => {
      const document = { policies: policies ?? {}, connectors: {} }
      expect(Value.Check(ConfigDocument, document)).toBe(true)
    },
  )

  it('is stored and active with its workspace, with its quotas', async () => {
    const { id } = await made('standard-dev')
    const active = await activeVersion(database.db, id)
    expect(active).toMatchObject({
      version: 1,
      document: { policies: templateOf('dev').policies, connectors: {} },
    })
    const quotas = await quotasOf(database.db, id)
    expect(quotas).toHaveLength(QUOTAS.length)
    expect(quotas).toContainEqual({ quota: 'connectors', limit: 100, used: 0 })
    expect(quotas).toContainEqual({ quota: 'config_versions', limit: 10_000, used: 1 })
  })

  it.each(['standard-prod', 'nonsense'])(
    'is not one of another environment or none: %s',
    async (template) => {
      await expect(made(template)).rejects.toMatchObject({
        code: 'validation_error',
        extra: { details: [{ path: '/body/template' }] },
      })
    },
  )

  it('that cannot be stored leaves no workspace behind', async () => {
    const breaking = { firstConfig: () => Promise.reject(new Error('no')) }
    const slug = 'half-dev'
    await expect(createWorkspace(deps(), { slug, name: 'x' }, CHANGE, breaking)).rejects.toThrow('no')
    await expect(createWorkspace(deps(), { slug, name: 'x' }, CHANGE)).resolves.toMatchObject({ slug })
  })
})

describe('a quota', () => {
  it('is exact when several take the last place at once', async () => {
    const { id } = await made()
    await setQuotas(deps(), { id, quotas: { service_identities: 2 } }, CHANGE)
    const results = await Promise.allSettled([1, 2, 3, 4, 5].map((n) => identity(id, `svc:n${n}`)))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
    for (const result of results)
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({
          code: 'quota_exceeded',
          extra: { members: { quota: 'service_identities', limit: 2, used: 2 } },
        })
  })

  it('counts what is there and not what was', async () => {
    const { id } = await made()
    await setQuotas(deps(), { id, quotas: { service_identities: 1 } }, CHANGE)
    const first = await identity(id, 'svc:first')
    await expect(identity(id, 'svc:second')).rejects.toMatchObject({ code: 'quota_exceeded' })
    await revokeIdentity(database.db, { tenantId: id, id: first.identity.id }, CHANGE)
    await expect(identity(id, 'svc:second')).resolves.toBeDefined()
  })

  it('below the use takes nothing away and lets less through, never more', async () => {
    const { id } = await made()
    await database.db.transaction((tx) =>
      firstConfig(tx, id, { policies: {}, connectors: connectors(3) }, CHANGE),
    )
    await setQuotas(deps(), { id, quotas: { connectors: 1 } }, CHANGE)
    const ask = (total: number) =>
      database.db.transaction((tx) => requireRoom(tx, { tenantId: id, quota: 'connectors', total }))
    await expect(ask(4)).rejects.toMatchObject({ code: 'quota_exceeded' })
    await expect(ask(2)).resolves.toBeUndefined()
  })

  it('of a workspace is none of its neighbour', async () => {
    const [{ id }, other] = [await made(), await made()]
    await setQuotas(deps(), { id, quotas: { service_identities: 0 } }, CHANGE)
    await expect(identity(id, 'svc:one')).rejects.toMatchObject({ code: 'quota_exceeded' })
    await expect(identity(other.id, 'svc:one')).resolves.toBeDefined()
  })

  it('is told in the audit log when it changes, with what it was', async () => {
    const { id } = await made()
    await setQuotas(deps(), { id, quotas: { members: 3 } }, CHANGE)
    const [entry] = await listAudit(database.db, { tenantId: id, limit: 1 })
    expect(entry).toMatchObject({
      action: 'workspace.quotas_changed',
      diff: [{ path: '/quotas/members', before: DEFAULT_QUOTAS.members, after: 3 }],
    })
  })

  it('of a workspace that does not exist cannot be set', async () => {
    await expect(setQuotas(deps(), { id: newId(), quotas: { members: 1 } }, CHANGE)).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})

const connectors = (many: number): ConfigDocument['connectors'] =>
  Object.fromEntries(
    Array.from({ length: many }, (_, at) => [
      `c${at}`,
      { kind: 'http', settings: { base_url: 'https://x.test' } },
    ]),
  ) as ConfigDocument['connectors']
