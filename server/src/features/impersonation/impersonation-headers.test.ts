import { describe, expect, it } from 'vitest'
import type { Principal } from '../../platform/auth/principal.ts'
import type { Credentials } from '../../platform/http/access.ts'
import { withImpersonationHeaders } from './impersonation-headers.ts'

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

const members: Readonly<Record<string, { subject: string; roles: string[] }>> = {
  support: { subject: 'operator:support@example.com', roles: ['support'] },
  admin: { subject: 'operator:admin@example.com', roles: ['admin'] },
}

const as = (headers: Record<string, string>, { allowed = true, caller = principal(['admin']) } = {}) =>
  withImpersonationHeaders(async () => caller, {
    allowed,
    findMember: async (_tenant, id) => members[id],
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
    expect(await as({ 'x-impersonate-operator': 'support' })).toMatchObject({
      subject: 'operator:support@example.com',
      impersonator: 'operator:boss@example.com',
      readOnly: true,
      roles: new Set(['support']),
      scopes: new Set(),
    })
    const writing = { 'x-impersonate-operator': 'support', 'x-impersonate-write': 'true' }
    expect((await as(writing)).readOnly).toBe(false)
  })

  it.each([
    ['an Admin', { 'x-impersonate-operator': 'admin' }, principal(['admin'])],
    ['nobody', { 'x-impersonate-operator': 'stranger' }, principal(['admin'])],
    ['nobody, with the second header alone', { 'x-impersonate-write': 'true' }, principal(['admin'])],
    ['with a header that does not exist', { 'x-impersonate-email': 'support' }, principal(['admin'])],
    ['as Support', { 'x-impersonate-operator': 'support' }, principal(['support'])],
    ['as a machine', { 'x-impersonate-operator': 'support' }, principal([])],
    [
      'during another one',
      { 'x-impersonate-operator': 'support' },
      principal(['admin'], { impersonator: 'operator:x', readOnly: false }),
    ],
  ])('are refused for %s', async (_what, headers, caller) => {
    expect(await refusedAs(headers as Record<string, string>, { caller })).toBe('forbidden')
  })
})
