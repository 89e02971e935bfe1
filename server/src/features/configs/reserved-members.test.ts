/** What a verification of the hub adds to a config for a while: nobody else makes it, nor is kept from anything by it. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { VERIFIER } from '../reserved-names/reserved-names.ts'
import { configsControl } from './configs.control.ts'
import { activateConfig, type ConfigDocument, editConfig, productPart, withHubPart } from './configs.ts'

let hub: CallingHub
let call: CallServer
let token: string
let tenantId: string
let workspaces = 0
const reason = 'a step'

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  call = await hub.serve((app) => configsControl(app, hub.configDeps))
})
afterAll(() => hub.close())
beforeEach(async () => {
  workspaces += 1
  tenantId = (await hub.access.workspace(`reserved${workspaces}-dev`)).id
  token = await hub.access.bearer(tenantId)
})

type Edit = (document: ConfigDocument) => ConfigDocument
const change = async (edit: Edit, actor = 'svc:product') =>
  (await editConfig(hub.configDeps, { tenantId }, 'config', edit, { ...CHANGE, actor })).version
const policy =
  (name: string, attempts = 1): Edit =>
  ({ policies, connectors }) => ({
    policies: { ...policies, [name]: { retry: { max_attempts: attempts } } },
    connectors,
  })
const rollBack = () => call<{ version: number }>('POST', '/configs/rollback', token, { body: { reason } })
const OURS = 'orch-verify-once'

test('only a verification gives such a name; others may keep it and take it away', async () => {
  await expect(change(policy(OURS))).rejects.toMatchObject({
    code: 'config_invalid',
    extra: { details: [{ path: `/policies/${OURS}`, message: expect.stringMatching(/reserved/) }] },
  })
  await change(policy(OURS), VERIFIER)
  await change(policy('verify-mine'))
  await expect(change(policy(OURS, 2))).rejects.toMatchObject({ code: 'config_invalid' })
  await change((document) => productPart(document))
  const { body } = await call<{ document: ConfigDocument }>('GET', '/configs/active', token)
  expect(Object.keys(body.document.policies)).toEqual(['verify-mine'])
})

test('a version that a verification has made is activated by nobody else', async () => {
  await change(policy('a'))
  const theirs = await change(policy(OURS), VERIFIER)
  await change((document) => productPart(document), VERIFIER)
  await expect(
    activateConfig(hub.configDeps, { tenantId }, theirs, { ...CHANGE, actor: 'svc:product' }),
  ).rejects.toMatchObject({ code: 'config_invalid' })
})

test('a rollback undoes the last edit of the workspace, before, during and after a verification', async () => {
  for (const attempts of [1, 2, 3]) await change(policy('a', attempts))
  await change(policy(OURS), VERIFIER)
  await change((document) => productPart(document), VERIFIER)
  expect((await rollBack()).body.version).toBe(2)
  await change(policy(OURS), VERIFIER)
  expect((await rollBack()).body.version).toBe(1)
})

test('an edit that was made while a verification ran is undone, and nothing of the verification comes back', async () => {
  await change(policy('a', 1))
  await change(policy(OURS), VERIFIER)
  await change(policy('a', 2))
  await change((document) => productPart(document), VERIFIER)
  expect((await rollBack()).body.version).toBe(1)
})

test('a whole config that replaces another one leaves a verification what it has', () => {
  const active = policy(OURS)(policy('old')({ policies: {}, connectors: {} }))
  const wanted = policy('new')({ policies: {}, connectors: {} })
  expect(Object.keys(withHubPart(wanted, active).policies).sort()).toEqual(['new', OURS])
})
