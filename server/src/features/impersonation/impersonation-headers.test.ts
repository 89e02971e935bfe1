import { describe, expect, it } from 'vitest'
import type { Principal } from '../../platform/auth/principal.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Credentials } from '../../platform/http/access.ts'
import { withImpersonationHeaders, withoutImpersonationHeaders } from './impersonation-headers.ts'
import type { Member } from './whom.ts'

const principal = (roles: readonly string[], more: Partial<Principal> = {}): Principal => ({
  subject: 'operator:boss@example.com',
  tenantId: 't',
  scopes: new Set(['orchestrator.control.write']),
  roles: new Set(roles),
  tokenId: 'j',
  issuedAt: 0,
  expiresAt: 1,
  ...more,
})

const SUPPORT = '01900000-0000-7000-8000-00000000000a'
const ADMIN = '01900000-0000-7000-8000-00000000000b'
const LOCKED = '01900000-0000-7000-8000-00000000000d'
const STRANGER = '01900000-0000-7000-8000-00000000000c'
const members: Readonly<Record<string, Member>> = {
  [SUPPORT]: { subject: 'operator:support@example.com', roles: ['support'], locked: false },
  [ADMIN]: { subject: 'operator:admin@example.com', roles: ['admin'], locked: false },
  [LOCKED]: { subject: 'operator:locked@example.com', roles: ['support'], locked: true },
}

const as = (headers: Record<string, string>, { allowed = true, caller = principal(['admin']) } = {}) =>
  (allowed ? withImpersonationHeaders : withoutImpersonationHeaders)(async () => caller, {
    db: {} as Queryable,
    findMember: async (_on, _tenant, id) => {
      expect(id).toMatch(/^[0-9a-f-]{36}$/)
      return members[id]
    },
  })({ headers } as unknown as Credentials)

const refusedAs = (...given: Parameters<typeof as>) =>
  as(...given).then(
    () => 'accepted',
    (error) => error.code as string,
  )

describe('headers that impersonate', () => {
  it('change nothing when they are not there', async () => {
    const caller = principal(['support'])
    expect(await as({}, { caller })).toBe(caller)
    expect(await as({}, { caller, allowed: false })).toBe(caller)
  })

  it('are refused where they are not allowed, all of them, before anybody is asked who calls', async () => {
    for (const name of ['x-impersonate-operator', 'x-impersonate-write', 'x-impersonate-anything'])
      expect(await refusedAs({ [name]: 'support' }, { allowed: false })).toBe('forbidden')
  })

  it('make the caller the member, who only looks', async () => {
    expect(await as({ 'x-impersonate-operator': SUPPORT })).toMatchObject({
      subject: 'operator:support@example.com',
      impersonator: 'operator:boss@example.com',
      readOnly: true,
      roles: new Set(['support']),
      scopes: new Set(),
    })
    const writing = { 'x-impersonate-operator': SUPPORT, 'x-impersonate-write': 'true' }
    expect((await as(writing)).readOnly).toBe(false)
  })

  it.each([
    ['an Admin', { 'x-impersonate-operator': ADMIN }, principal(['admin'])],
    ['somebody who is locked', { 'x-impersonate-operator': LOCKED }, principal(['admin'])],
    ['nobody', { 'x-impersonate-operator': STRANGER }, principal(['admin'])],
    ['what is no id', { 'x-impersonate-operator': 'support@example.com' }, principal(['admin'])],
    ['nobody, with the second header alone', { 'x-impersonate-write': 'true' }, principal(['admin'])],
    ['with a header that does not exist', { 'x-impersonate-email': 'support' }, principal(['admin'])],
    ['as Support', { 'x-impersonate-operator': SUPPORT }, principal(['support'])],
    ['as a machine', { 'x-impersonate-operator': SUPPORT }, principal([])],
    [
      'during another one',
      { 'x-impersonate-operator': SUPPORT },
      principal(['admin'], { impersonator: 'operator:x', readOnly: false }),
    ],
  ])('are refused for %s', async (_what, headers, caller) => {
    expect(await refusedAs(headers as Record<string, string>, { caller })).toBe('forbidden')
  })
})
