import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmergencyHub, emergencyHub } from '../../testing/emergency-hub.ts'
import { NO_WORKSPACE } from '../features/workspaces/workspaces.ts'
import { newId } from '../platform/ids.ts'

let hub: EmergencyHub
let workspaceId: string

beforeAll(async () => {
  hub = await emergencyHub()
  workspaceId = await hub.workspace('shop-dev')
})
afterAll(() => hub.close())

type Opened = Awaited<ReturnType<EmergencyHub['opened']>>
const reason = 'nobody knows who that is'

describe('an emergency session ends for everybody who holds it', () => {
  test.each<[string, (session: Opened) => ReturnType<EmergencyHub['asAdmin']>]>([
    ['when its account is locked', ({ who }) => hub.asAdmin('POST', `/operators/${who.id}/lock`, { reason })],
    [
      'when its role is taken away',
      ({ who }) => hub.asAdmin('PUT', `/operators/${who.id}/roles`, { roles: [], reason }),
    ],
    [
      'when the sessions of its operator are ended',
      ({ who }) => hub.asAdmin('POST', `/operators/${who.id}/end-sessions`, { reason }),
    ],
    [
      'when the second factor of its operator is reset',
      ({ who }) => hub.asAdmin('POST', `/operators/${who.id}/reset-mfa`, { reason }),
    ],
    ['when a platform admin ends it', ({ id }) => hub.asAdmin('POST', `/break-glass/${id}/end`, { reason })],
  ])('%s', async (_when, end) => {
    const session = await hub.opened(workspaceId)
    const { id, call } = session
    expect((await call('GET', '/identities')).status).toBe(200)

    expect(await end(session)).toMatchObject({ status: 200 })

    expect((await call('GET', '/identities')).status).toBe(401)
    const told = await hub.query(
      `select count(*)::int as n from event where tenant_id = $1 and type = 'break_glass.closed'
       and data ->> 'session_id' = $2 and message like '%nobody knows who that is%'`,
      [workspaceId, id],
    )
    expect(told).toEqual([{ n: 1 }])
    const entries = await hub.query(
      `select actor, reason from audit_entry where tenant_id = $1 and action = 'break_glass.closed'
       and object = $2`,
      [NO_WORKSPACE, `break_glass:${id}`],
    )
    expect(entries).toEqual([{ actor: 'operator:boss', reason }])
  })

  test('and so does what it streams', async () => {
    const { id, token } = await hub.opened(workspaceId)
    const headers = { authorization: `Bearer ${token}` }
    const stream = await fetch(`${await hub.listen()}/events/stream`, { headers })
    expect(stream.status).toBe(200)
    await hub.asAdmin('POST', `/break-glass/${id}/end`, { reason })
    // Reads to its end; one that goes on keeps the test waiting until it fails.
    expect(await stream.text()).toContain('token')
  })

  test('once, and not by the right of an emergency', async () => {
    const { id, call } = await hub.opened()
    expect((await call('POST', `/break-glass/${id}/end`, { reason })).status).toBe(403)
    expect((await hub.asAdmin('POST', `/break-glass/${id}/end`, { reason })).status).toBe(200)
    expect((await hub.asAdmin('POST', `/break-glass/${id}/end`, { reason })).status).toBe(409)
    expect((await hub.asAdmin('POST', `/break-glass/${newId()}/end`, { reason })).status).toBe(404)
  })

  test('others go on', async () => {
    const stays = await hub.opened(workspaceId)
    const ends = await hub.opened(workspaceId)
    await hub.asAdmin('POST', `/operators/${ends.who.id}/lock`, { reason })
    expect((await ends.call('GET', '/identities')).status).toBe(401)
    expect((await stays.call('GET', '/identities')).status).toBe(200)
  })
})

test('nobody ends one by the role of a workspace, nor looks into it', async () => {
  const { id } = await hub.opened()
  const as = (method: 'GET' | 'POST', url: string, body?: object) =>
    hub.as(['admin'], workspaceId, method, url, body)
  expect((await as('POST', `/break-glass/${id}/end`, { reason })).status).toBe(403)
  expect((await as('GET', `/break-glass/${id}`)).status).toBe(403)
  expect((await hub.asAdmin('GET', `/break-glass/${newId()}`)).status).toBe(404)
})

test('its reviewer sees what was done in it, in all audit logs and nothing else', async () => {
  const { id, call, who } = await hub.opened(workspaceId)
  const identity = { name: 'svc:helper', scopes: ['orchestrator.execute'], reason: 'to release the queue' }
  expect((await call('POST', '/identities', identity)).status).toBe(201)
  const made = { slug: 'new-dev', name: 'New', template: 'empty', reason: 'a place to try it' }
  expect((await call('POST', '/workspaces', made)).status).toBe(201)
  // Somebody else in an emergency at the same time.
  const other = await hub.opened(workspaceId)
  const theirs = { ...identity, name: 'svc:other' }
  expect((await other.call('POST', '/identities', theirs)).status).toBe(201)

  const { status, body } = await hub.asAdmin('GET', `/break-glass/${id}`)
  expect(status).toBe(200)
  expect(body).toMatchObject({ id, subject: who.subject, has_more_entries: false })
  const seen = body.entries as { workspace_id: string | null; action: string; reason: string }[]
  expect(seen.map((entry) => [entry.workspace_id === workspaceId, entry.action])).toEqual([
    [true, 'identity.created'],
    [false, 'workspace.created'],
  ])
  expect(JSON.stringify(body)).not.toContain('svc:other')
})
