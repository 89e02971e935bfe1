import { expect, test } from 'vitest'
import type { Principal } from '../../platform/auth/principal.ts'
import { NO_WORKSPACE, PERMISSIONS, type PermissionName, refusal, WORKSPACE_ROLES } from './permissions.ts'

const caller = (given: Partial<Principal>): Principal => ({
  subject: 'operator:ada@example.com',
  tenantId: '01890000-0000-7000-8000-000000000000',
  scopes: new Set(),
  roles: new Set(),
  tokenId: 't',
  issuedAt: 0,
  expiresAt: 0,
  ...given,
})
const NAMES = Object.keys(PERMISSIONS) as PermissionName[]
const EVERY_SCOPE = new Set(NAMES.flatMap((name): readonly string[] => PERMISSIONS[name].scopes))
const allowed = (principal: Principal) => NAMES.filter((name) => refusal(principal, name) === undefined)

test('outside of every workspace nobody has what only roles or scopes of a workspace give', () => {
  const ofWorkspace = allowed(caller({ scopes: EVERY_SCOPE, roles: new Set(Object.keys(WORKSPACE_ROLES)) }))
  expect(ofWorkspace).toContain('queues.control')
  // With a platform role, as `orchestrator token --platform-admin` gives it: every scope, and no workspace.
  const hub = allowed(
    caller({ tenantId: NO_WORKSPACE, scopes: EVERY_SCOPE, roles: new Set(['platform_admin']) }),
  )
  expect(hub).toEqual([
    'platform_quarantine.read',
    'quarantine.assign',
    'workspaces.read',
    'workspaces.manage',
    'operators.read',
    'operators.manage',
    'platform_audit.read',
    'platform_retention.read',
    'impersonation.start',
    'impersonation.read',
    'break_glass.read',
    'break_glass.inspect',
    'break_glass.end',
    'break_glass.review',
  ])
  expect(allowed(caller({ tenantId: NO_WORKSPACE, roles: new Set(['emergency']) }))).toEqual([
    'platform_quarantine.read',
    'workspaces.read',
    'workspaces.manage',
    'operators.read',
    'operators.manage',
    'platform_audit.read',
    'platform_retention.read',
    'impersonation.read',
    'break_glass.read',
    'break_glass.use',
  ])
})

test('whoever could do it in a workspace is told to enter one, whoever could not is told of roles', () => {
  const emergency = caller({ tenantId: NO_WORKSPACE, roles: new Set(['emergency']) })
  expect(refusal(emergency, 'queues.control')).toBe('Enter a workspace first: POST /break-glass/enter.')
  expect(refusal(emergency, 'issuers.write')).toBe('This needs the role admin.')
  const machine = caller({ tenantId: NO_WORKSPACE, scopes: EVERY_SCOPE })
  expect(refusal(machine, 'queues.control')).toContain('for no workspace')
})
