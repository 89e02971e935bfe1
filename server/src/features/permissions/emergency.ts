import type { Principal } from '../../platform/auth/principal.ts'
import { EMERGENCY } from './roles.ts'

/** True for the author of a change that is made in an emergency session. */
export const inEmergency = ({ role }: { readonly role?: string }): boolean => role === EMERGENCY

/** When that ends which a caller makes and wants until `wanted` (null = for ever): with the emergency at the latest. */
export function endWithin(
  { roles, expiresAt }: Pick<Principal, 'roles' | 'expiresAt'>,
  wanted: Date | null,
): Date | null {
  if (!roles.has(EMERGENCY)) return wanted
  return new Date(Math.min(wanted?.getTime() ?? expiresAt, expiresAt))
}
