/** What a person loses with a role: tokens of the workspace, and the invitations they made; what they keep. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { PASSWORD, type PeopleHub, type Person, people } from '../../../testing/people.ts'
import { listAudit } from '../audit/audit.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { membersControl } from './members.control.ts'
import { operatorsControl } from './operators.control.ts'
import { ownAccountControl } from './own-account.control.ts'
import type { OperatorRole } from './role.ts'
import { signOnControl } from './sign-on.control.ts'

let hub: PeopleHub
let workspaceId: string
let count = 0
const reason = 'a test'

beforeAll(async () => {
  hub = await people((app, deps) => {
    for (const add of [signOnControl, ownAccountControl, membersControl, operatorsControl]) add(app, deps)
  })
})
afterAll(() => hub.close())
beforeEach(async () => {
  count += 1
  workspaceId = (await hub.access.workspace(`authority-${count}-dev`)).id
  await hub.clock.advance(120_000)
})

const as = async (role: string, subject = 'operator:root', tenantId = workspaceId): Promise<string> =>
  (await hub.access.bearer(tenantId, { roles: [role], scopes: [], subject })).slice(7)
const ofWorkspace = (role: 'admin' | 'support'): OperatorRole => ({ workspaceId, role })
const setPlatformRoles = async ({ operator }: Person, roles: readonly string[]) =>
  hub.call('PUT', `/operators/${operator.id}/roles`, {
    token: await as('platform_admin'),
    body: { roles, reason },
  })
const lower = async ({ operator }: Person) =>
  hub.call('PUT', `/members/${operator.id}`, { token: await as('admin'), body: { role: 'support', reason } })
const remove = async ({ operator }: Person) =>
  hub.call('DELETE', `/members/${operator.id}?reason=left`, { token: await as('admin') })
const lock = async ({ operator }: Person) =>
  hub.call('POST', `/operators/${operator.id}/lock`, { token: await as('platform_admin'), body: { reason } })
const accept = async ({ token }: { readonly token: string }) =>
  (await hub.call('POST', '/auth/invitations/accept', { body: { token, name: 'Ghost', password: PASSWORD } }))
    .status

let ghosts = 0
/** An invitation by this person; through the routes of the platform with `byPlatform`. */
const inviteAs = async (
  { operator }: Pick<Person, 'operator'>,
  { byPlatform = false, role = 'support' } = {},
): Promise<{ readonly id: string; readonly token: string }> => {
  ghosts += 1
  const email = `ghost-${ghosts}@example.com`
  const token = await as(byPlatform ? 'platform_admin' : 'admin', operator.subject)
  const place = byPlatform && !role.startsWith('platform') && { workspace_id: workspaceId }
  const answer = await hub.call('POST', byPlatform ? '/operators/invitations' : '/invitations', {
    token,
    body: { email, role, reason, ...place },
  })
  expect(answer.status).toBe(201)
  return answer.body
}
const revocations = async (tenantId: string) =>
  (await listAudit(hub.db, { tenantId, action: 'invitation.revoked', limit: 50 })).map(
    ({ reason: why }) => why,
  )

describe('an open invitation', () => {
  test.each([
    ['is removed', remove],
    ['is no Admin any more', lower],
    ['is locked', lock],
  ])('ends with who made it %s', async (_what, act) => {
    const anna = await hub.person(ofWorkspace('admin'))
    await hub.person(ofWorkspace('admin'))
    const invited = await inviteAs(anna)
    expect((await act(anna)).status).toBe(200)
    expect(await accept(invited)).toBe(404)
    expect(await revocations(workspaceId)).toEqual([
      expect.stringMatching(`^${anna.operator.subject} may no longer invite there: `),
    ])
    expect((await hub.call('GET', '/invitations', { token: await as('admin') })).body.data).toEqual([])
  })

  test('cannot be accepted when its author lost the role without anybody revoking it', async () => {
    const anna = await hub.person(ofWorkspace('admin'))
    const invited = await inviteAs(anna)
    await hub.query('delete from operator_role where operator_id = $1', [anna.operator.id])
    expect(await accept(invited)).toBe(404)
  })

  test('of a platform admin ends with that role, on the platform and in workspaces', async () => {
    const anna = await hub.person({ workspaceId: null, role: 'platform_admin' })
    await hub.person({ workspaceId: null, role: 'platform_admin' })
    const invited = [
      await inviteAs(anna, { byPlatform: true }),
      await inviteAs(anna, { byPlatform: true, role: 'platform_auditor' }),
    ]
    expect((await setPlatformRoles(anna, ['platform_auditor'])).status).toBe(200)
    for (const one of invited) expect(await accept(one)).toBe(404)
    for (const tenantId of [workspaceId, NO_WORKSPACE])
      expect(await revocations(tenantId)).toContainEqual(expect.stringContaining(anna.operator.subject))
  })

  test('stays while its author may do so by another role, elsewhere, or is the machine of the hub', async () => {
    const anna = await hub.person(ofWorkspace('admin'), { workspaceId: null, role: 'platform_admin' })
    await hub.person(ofWorkspace('admin'))
    const other = (await hub.access.workspace(`authority-${count}-other-dev`)).id
    await hub.query(
      'insert into operator_role (operator_id, workspace_id, role, granted_by) values ($1, $2, $3, $4)',
      [anna.operator.id, other, 'support', 'a test'],
    )
    const [ours, machines] = [
      await inviteAs(anna, { byPlatform: true }),
      await inviteAs({ operator: { ...anna.operator, subject: 'operator:root' } }),
    ]
    const gone = await hub.call('DELETE', `/members/${anna.operator.id}?reason=left`, {
      token: await as('admin', 'operator:root', other),
    })
    expect(gone.status).toBe(200)
    expect((await remove(anna)).status).toBe(200)
    expect(await accept(ours)).toBe(200)
    expect(await accept(machines)).toBe(200)
  })

  test('from an emergency is worth as much as the right to open one', async () => {
    const anna = await hub.person({ workspaceId: null, role: 'break_glass_admin' })
    const [good, ended] = await Promise.all([inviteAs(anna), inviteAs(anna)])
    for (const { id } of [good, ended])
      await hub.query('update operator_invitation set in_emergency = true where id = $1', [id])
    expect(await accept(good)).toBe(200)
    expect((await setPlatformRoles(anna, [])).status).toBe(200)
    expect(await accept(ended)).toBe(404)
  })
})

describe('a platform admin', () => {
  const invite = async (email: string, role: string, subject = 'operator:root') =>
    hub.call('POST', '/operators/invitations', {
      token: await as('platform_admin', subject),
      body: { email, role, workspace_id: workspaceId, reason },
    })
  const warnings = () =>
    hub.query("select severity, data from event where tenant_id = $1 and type = 'member.invited'", [
      workspaceId,
    ])

  test('does not invite themselves where an Admin can sign on, and cannot use an older invitation then', async () => {
    const boss = await hub.person({ workspaceId: null, role: 'platform_admin' })
    const { email, operator } = boss
    const early = await invite(email, 'admin', operator.subject)
    expect(early.status).toBe(201)
    await hub.person(ofWorkspace('admin'))
    for (const role of ['admin', 'support', 'read_only'])
      expect(await invite(email.toUpperCase(), role, operator.subject)).toMatchObject({
        status: 403,
        body: { detail: expect.stringContaining('Nobody invites themselves') },
      })
    const signedOn = await hub.call('POST', '/auth/login', { body: { email, password: PASSWORD } })
    await hub.query('update operator_session set mfa = true where id = $1', [signedOn.body.session_id])
    const late = await hub.call('POST', '/auth/session/invitations', {
      token: signedOn.body.session_token,
      body: { token: early.body.token },
    })
    expect(late.status).toBe(403)
  })

  test('is seen in the workspace when they let an Admin in, also by sending an invitation again', async () => {
    expect((await invite('zoe-1@example.com', 'support')).status).toBe(201)
    expect(await warnings()).toEqual([])
    const { body } = await invite('zoe-2@example.com', 'admin')
    expect(await warnings()).toMatchObject([
      { severity: 'warning', data: { email: 'zoe-2@example.com', role: 'admin' } },
    ])
    await hub.call('POST', `/operators/invitations/${body.id}/resend`, {
      token: await as('platform_admin'),
      body: { reason },
    })
    expect(await warnings()).toHaveLength(2)
    expect(JSON.stringify(await warnings())).not.toContain(body.token)
  })
})

describe('a change of role in a workspace', () => {
  const signOn = async ({ email }: Person): Promise<string> =>
    (await hub.call('POST', '/auth/login', { body: { email, password: PASSWORD } })).body.session_token
  const rolesNow = async (token: string) =>
    (await hub.call('POST', '/auth/token', { token, body: { workspace_id: workspaceId } })).body.roles
  const session = async (token: string) => (await hub.call('GET', '/auth/session', { token })).status
  const ends = ({ operator }: Person) =>
    hub.query<{ tenant_id: string }>('select tenant_id from ended_token where subject = $1', [
      operator.subject,
    ])

  test('ends the tokens there and not the session, which gives the new role', async () => {
    const ben = await hub.person(ofWorkspace('support'))
    await hub.person(ofWorkspace('admin'))
    const token = await signOn(ben)
    expect(await rolesNow(token)).toEqual(['support'])
    await hub.query('delete from ended_token where subject = $1', [ben.operator.subject])
    const read = await hub.call('PUT', `/members/${ben.operator.id}`, {
      token: await as('admin'),
      body: { role: 'read_only', reason },
    })
    expect(read.status).toBe(200)
    expect(await ends(ben)).toEqual([{ tenant_id: workspaceId }])
    expect(await session(token)).toBe(200)
    expect(await rolesNow(token)).toEqual(['read_only'])
    expect((await remove(ben)).status).toBe(200)
    expect(await session(token)).toBe(200)
    expect(await rolesNow(token)).toBeUndefined()
  })

  test('makes no session stronger than its second factor', async () => {
    const ben = await hub.person(ofWorkspace('support'))
    const token = await signOn(ben)
    await hub.call('PUT', `/members/${ben.operator.id}`, {
      token: await as('admin'),
      body: { role: 'admin', reason },
    })
    const asked = await hub.call('POST', '/auth/token', { token, body: { workspace_id: workspaceId } })
    expect(asked.body.code).toBe('mfa_enrolment_required')
  })

  test('waits for a token that is being made, so that its end is later', async () => {
    const ben = await hub.person(ofWorkspace('support'))
    const token = await signOn(ben)
    const before = (await ends(ben)).length
    let asked: Promise<unknown> | undefined
    await hub.db.transaction(async (tx) => {
      await tx.execute({ name: '', text: 'lock table operator_role in share row exclusive mode' }, [])
      asked = rolesNow(token)
      await expect
        .poll(async () => (await hub.query('select from pg_locks where not granted')).length)
        .toBeGreaterThan(0)
      await tx.execute(
        { name: '', text: "update operator_role set role = 'read_only' where operator_id = $1" },
        [ben.operator.id],
      )
    })
    expect(await asked).toEqual(['read_only'])
    expect((await ends(ben)).length).toBe(before)
  })

  test('on the platform ends the sessions', async () => {
    const ben = await hub.person(ofWorkspace('support'))
    const token = await signOn(ben)
    expect((await setPlatformRoles(ben, ['platform_auditor'])).status).toBe(200)
    expect(await session(token)).toBe(401)
  })
})
