/** What an emergency may not leave behind. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmergencyHub, emergencyHub } from '../../testing/emergency-hub.ts'

let hub: EmergencyHub
let workspaceId: string

beforeAll(async () => {
  hub = await emergencyHub()
  workspaceId = await hub.workspace('shop-dev')
})
afterAll(() => hub.close())

const reason = 'it is urgent'
const OWN = { status: 403, body: { code: 'forbidden', detail: expect.stringContaining('their own account') } }
const PLATFORM = { status: 403, body: { detail: expect.stringContaining('platform roles') } }

describe('in an emergency nobody', () => {
  test('changes roles, lock or second factor of their own account', async () => {
    const { call, who } = await hub.opened()
    const at = `/operators/${who.id}`
    const roles = ['break_glass_admin', 'platform_admin']
    expect(await call('PUT', `${at}/roles`, { roles, reason })).toMatchObject(OWN)
    for (const path of ['lock', 'reset-mfa'])
      expect(await call('POST', `${at}/${path}`, { reason }), path).toMatchObject(OWN)
    // A lock that somebody sets ends the session; this one is set behind its back.
    await hub.query('update operator set locked_at = now() where id = $1', [who.id])
    expect(await call('POST', `${at}/unlock`, { reason })).toMatchObject(OWN)
  })

  test('takes a role in a workspace, by the list of members or by an invitation', async () => {
    const { call, who } = await hub.opened(workspaceId)
    await hub.query(
      `insert into operator_role (operator_id, workspace_id, role, granted_by) values ($1, $2, 'support', 'a test')`,
      [who.id, workspaceId],
    )
    const at = `/members/${who.id}`
    expect(await call('PUT', at, { role: 'admin', reason })).toMatchObject(OWN)
    expect(await call('DELETE', `${at}?reason=urgent`)).toMatchObject(OWN)
    const invitation = { email: who.email.toUpperCase(), role: 'admin', reason }
    expect(await call('POST', '/invitations', invitation)).toMatchObject(OWN)
    const anywhere = { ...invitation, workspace_id: workspaceId }
    expect(await call('POST', '/operators/invitations', anywhere)).toMatchObject(OWN)
  })

  test('gives platform roles or invites to them, and takes them away', async () => {
    const { call } = await hub.opened()
    const friend = await hub.person('platform_auditor')
    const at = `/operators/${friend.id}/roles`
    const roles = ['platform_auditor', 'platform_admin']
    expect(await call('PUT', at, { roles, reason })).toMatchObject(PLATFORM)
    const invitation = { email: 'friend@example.com', role: 'platform_admin', reason }
    expect(await call('POST', '/operators/invitations', invitation)).toMatchObject(PLATFORM)
    const { body: open } = await hub.asAdmin('POST', '/operators/invitations', invitation)
    const again = `/operators/invitations/${open.id}/resend`
    expect(await call('POST', again, { reason })).toMatchObject(PLATFORM)
    expect((await call('PUT', at, { roles: [], reason })).status).toBe(200)
  })

  test('trusts an issuer, but distrusts one', async () => {
    const { call } = await hub.opened(workspaceId)
    const issuer = {
      name: 'friend',
      issuer: 'https://issuer.example.com',
      jwks_url: 'https://issuer.example.com/keys',
      scopes: ['orchestrator.control.write'],
      reason,
    }
    const answer = await call('POST', '/trusted-issuers', issuer)
    expect(answer).toMatchObject({ status: 403, body: { detail: 'This needs the role admin.' } })
    const gone = await call('DELETE', `/trusted-issuers/${workspaceId}?reason=urgent`)
    expect(gone.status).toBe(404)
  })

  test('rotates a client secret', async () => {
    const { call } = await hub.opened(workspaceId)
    const made = { name: 'svc:rotated', scopes: ['orchestrator.execute'], reason }
    const { id } = (await call('POST', '/identities', made)).body
    const rotated = await call('POST', `/identities/${id}/rotate-secret`, { overlap_seconds: 0, reason })
    expect(rotated).toMatchObject({ status: 403, body: { detail: expect.stringContaining('revoke') } })
  })
})

describe('an identity of an emergency', () => {
  const later = '2099-01-01T00:00:00.000Z'

  test.each([
    ['without an end', {}],
    ['with none in so many words', { expires_at: null }],
    ['with one that is later', { expires_at: later }],
  ])('that is made %s ends with the session', async (_how, limits) => {
    const { call, expiresAt } = await hub.opened(workspaceId)
    const name = `svc:made-${Object.values(limits).length}-${String(Object.values(limits)[0] ?? 'x').length}`
    const body = { name, scopes: ['orchestrator.execute'], reason, ...limits }
    const made = await call('POST', '/identities', body)
    expect(made).toMatchObject({ status: 201, body: { expires_at: expiresAt } })
  })

  test('that ends earlier does so, and its end is moved up to the session’s at the latest', async () => {
    const { call, expiresAt } = await hub.opened(workspaceId)
    const soon = new Date(Date.parse(expiresAt) - 60_000).toISOString()
    const body = { name: 'svc:soon', scopes: ['orchestrator.execute'], reason, expires_at: soon }
    const made = await call('POST', '/identities', body)
    expect(made.body.expires_at).toBe(soon)
    for (const expires_at of [later, null])
      expect(await call('PATCH', `/identities/${made.body.id}`, { expires_at, reason })).toMatchObject({
        status: 200,
        body: { expires_at: expiresAt },
      })
    // What does not name the end leaves it.
    const scopes = ['orchestrator.jobs.read']
    expect(await call('PATCH', `/identities/${made.body.id}`, { scopes, reason })).toMatchObject({
      status: 200,
      body: { expires_at: expiresAt },
    })
  })
})

test('before it has entered a workspace, an emergency does nothing that belongs to one', async () => {
  const { call } = await hub.opened()
  const enter = { status: 403, body: { detail: 'Enter a workspace first: POST /break-glass/enter.' } }
  expect(await call('GET', '/identities')).toMatchObject(enter)
  const invitation = { email: 'someone@example.com', role: 'support', reason }
  expect(await call('POST', '/invitations', invitation)).toMatchObject(enter)
  expect((await call('GET', '/operators')).status).toBe(200)
})
