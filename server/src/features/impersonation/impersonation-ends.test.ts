/** Impersonation over real accounts, roles and sessions: how what a person loses ends it. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type PeopleHub, type Person, people } from '../../../testing/people.ts'
import { peopleAtWork } from '../../../testing/people-at-work.ts'
import { listAudit } from '../audit/audit.ts'
import { holdCallersRoles, presentMember, type Session } from '../operators/operators.ts'
import { impersonationControl } from './impersonation.control.ts'

let hub: PeopleHub
let work: ReturnType<typeof peopleAtWork>
let workspaceId: string
let round = 0

beforeAll(async () => {
  hub = await people((app, deps) => {
    const { clock } = deps
    impersonationControl(app, {
      ...deps,
      people: {
        findMember: (on, tenantId, operatorId) =>
          presentMember(on, clock, { workspaceId: tenantId, operatorId }),
        hold: (tx, caller) => holdCallersRoles(tx, clock, caller),
      },
    })
    // What every role may see.
    app.get(
      '/seeing',
      { config: { access: { permission: 'configs.read' } }, schema: { hide: true } },
      () => ({}),
    )
  })
  work = peopleAtWork(hub)
})
afterAll(() => hub.close())
beforeEach(() => newWorkspace())

const newWorkspace = async (): Promise<void> => {
  round += 1
  workspaceId = (await hub.access.workspace(`people-${round}-dev`)).id
  await hub.clock.advance(120_000)
}
/** A token as only the machine of the hub makes them: without a session. */
const machine = async (role: string, tenantId = workspaceId): Promise<string> =>
  (await hub.access.bearer(tenantId, { roles: [role], scopes: [], subject: 'operator:root' })).slice(7)
const member = (role: 'admin' | 'support' | 'read_only') => hub.person({ workspaceId, role })
/** Signs on with a second factor and chooses the workspace. */
const atWork = async (who: Person): Promise<{ session: Session; token: string }> => {
  const session = await work.signOn(who)
  return { session, token: await work.choose(session, workspaceId) }
}
const start = (token: string, { operator }: Person) =>
  hub.call('POST', '/impersonation', { token, body: { operator_id: operator.id, reason: 'a ticket' } })
const setRole = (who: Person, role: 'admin' | 'read_only') => work.setRole(who, workspaceId, role)
const remove = (who: Person) => work.remove(who, workspaceId)
const statusOf = async (token: string): Promise<number> =>
  (await hub.call('GET', '/seeing', { token })).status
const listed = async () =>
  (await hub.call('GET', '/impersonation', { token: await machine('admin') })).body.data as {
    readonly id: string
    readonly active: boolean
    readonly ended_at: string | null
    readonly ended_by: string | null
  }[]
const stops = () => listAudit(hub.db, { tenantId: workspaceId, action: 'impersonation.stopped', limit: 50 })

describe('a start and a change at the same time', () => {
  test('leave no token with the roles from before, whichever comes first', async () => {
    const began: number[] = []
    for (let turn = 0; turn < 12; turn += 1) {
      const ben = await member('support')
      const token = await machine('admin')
      const [started] = await Promise.all([start(token, ben), setRole(ben, 'admin')])
      began.push(started.status)
      if (started.status === 201)
        await expect.poll(() => statusOf(started.body.access_token), { timeout: 5_000 }).toBe(401)
      else
        expect(started).toMatchObject({ status: 403, body: { detail: 'Nobody may impersonate an Admin.' } })
    }
    expect((await listed()).filter(({ active }) => active)).toEqual([])
    expect((await stops()).length).toBe(began.filter((status) => status === 201).length)
  })

  test('leave no token of somebody who may impersonate nobody any more', async () => {
    const ben = await member('support')
    for (let turn = 0; turn < 6; turn += 1) {
      const boss = await member('admin')
      await member('admin')
      const { token } = await atWork(boss)
      const [started] = await Promise.all([start(token, ben), turn % 2 ? remove(boss) : work.lock(boss)])
      if (started.status === 201)
        await expect.poll(() => statusOf(started.body.access_token), { timeout: 5_000 }).toBe(401)
      else expect([401, 403]).toContain(started.status)
    }
    expect((await listed()).filter(({ active }) => active)).toEqual([])
  })

  test('a start waits for a change that has begun, and sees it', async () => {
    const ben = await member('support')
    const token = await machine('admin')
    let started: ReturnType<typeof start> | undefined
    await hub.db.transaction(async (tx) => {
      await tx.execute({ name: '', text: 'lock table operator_role in share row exclusive mode' }, [])
      started = start(token, ben)
      await expect
        .poll(async () => (await hub.query('select from pg_locks where not granted')).length)
        .toBeGreaterThan(0)
      await tx.execute({ name: '', text: "update operator_role set role = 'admin' where operator_id = $1" }, [
        ben.operator.id,
      ])
    })
    expect(await started).toMatchObject({ status: 403, body: { detail: 'Nobody may impersonate an Admin.' } })
  })
})

describe('what ends a session or a role', () => {
  test.each([
    [
      'signing out',
      'a session ended: own account',
      (_boss: Person, _ben: Person, session: Session) => work.signOut(session),
    ],
    [
      'another role of the member',
      'a role changed: a test',
      (_boss: Person, ben: Person) => setRole(ben, 'read_only'),
    ],
    ['the removal of the member', 'a role changed: a test', (_boss: Person, ben: Person) => remove(ben)],
    ['the removal of the Admin', 'a role changed: a test', (boss: Person) => remove(boss)],
    ['a lock of the member', 'an account was locked: a test', (_boss: Person, ben: Person) => work.lock(ben)],
    ['a lock of the Admin', 'an account was locked: a test', (boss: Person) => work.lock(boss)],
  ] as const)('%s ends the impersonation, and says so', async (_what, why, act) => {
    const [boss, ben] = [await member('admin'), await member('support')]
    await member('admin')
    const { session, token } = await atWork(boss)
    const started = await start(token, ben)
    expect(started.status).toBe(201)
    expect(await statusOf(started.body.access_token)).toBe(200)
    expect((await listed())[0]).toMatchObject({ active: true, ended_at: null })
    await act(boss, ben, session)
    const [row] = await listed()
    expect(row).toMatchObject({ active: false, ended_by: expect.any(String), ended_at: expect.any(String) })
    expect(await stops()).toMatchObject([
      { object: `impersonation:${started.body.id}`, actor: row?.ended_by, reason: why },
    ])
    const events = await hub.query(
      "select from event where tenant_id = $1 and type = 'impersonation.stopped'",
      [workspaceId],
    )
    expect(events).toHaveLength(1)
    await expect.poll(() => statusOf(started.body.access_token), { timeout: 5_000 }).toBe(401)
  })

  test('of another workspace ends nothing here', async () => {
    const [boss, ben] = [await member('admin'), await member('support')]
    const { token } = await atWork(boss)
    const started = await start(token, ben)
    const here = workspaceId
    await newWorkspace()
    await hub.query(
      'insert into operator_role (operator_id, workspace_id, role, granted_by) values ($1, $2, $3, $4)',
      [ben.operator.id, workspaceId, 'support', 'a test'],
    )
    await remove(ben)
    workspaceId = here
    expect((await listed())[0]).toMatchObject({ id: started.body.id, active: true })
  })

  test('is not needed for one whose time is over: the list shows it', async () => {
    const ben = await member('support')
    const { body } = await start(await machine('admin'), ben)
    await hub.query(
      "update impersonation set started_at = now() - interval '20 minutes', expires_at = now() where id = $1",
      [body.id],
    )
    expect((await listed())[0]).toMatchObject({ active: false, ended_at: null })
    await setRole(ben, 'read_only')
    expect(await stops()).toEqual([])
  })
})

describe('nobody acts as', () => {
  test('somebody whose account is locked', async () => {
    const ben = await member('support')
    await work.lock(ben)
    expect(await start(await machine('admin'), ben)).toMatchObject({
      status: 403,
      body: { detail: 'Nobody may impersonate somebody whose account is locked.' },
    })
  })

  test('somebody who has a platform role by a group, for as long as that session lives', async () => {
    const ben = await member('support')
    const session = await work.signOn(ben, 'platform_auditor')
    const token = await machine('admin')
    expect(await start(token, ben)).toMatchObject({
      status: 403,
      body: { detail: 'Nobody may impersonate somebody with a platform role.' },
    })
    await work.signOut(session)
    expect((await start(token, ben)).status).toBe(201)
  })
})
