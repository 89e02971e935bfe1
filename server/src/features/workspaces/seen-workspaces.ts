import type { Principal } from '../../platform/auth/principal.ts'
import { Problem } from '../../problems.ts'
import { EMERGENCY } from '../permissions/permissions.ts'
import { PLATFORM_ADMIN } from './authenticate.ts'

const SEE_ALL = [PLATFORM_ADMIN, 'platform_auditor', EMERGENCY]
/** Whether all workspaces are shown to the caller. */
export const seesAll = ({ roles }: Principal): boolean => SEE_ALL.some((role) => roles.has(role))

/** Errors: `not_found` for another workspace than that of the token, with no word about whether it exists. */
export function requireSeen(principal: Principal, id: string): void {
  if (!seesAll(principal) && id.toLowerCase() !== principal.tenantId)
    throw new Problem('not_found', 'There is no such workspace.')
}
