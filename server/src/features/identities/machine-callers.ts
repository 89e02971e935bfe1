/**
 * What a machine may not do to identities. Whoever holds the credentials of a machine must lose everything with its
 * revocation: so it makes nobody who could do on the control plane what it can.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import { Problem } from '../../problems.ts'
import { PLANE_SCOPES } from './scopes.ts'

/** A caller by client credentials or by a token of a trusted issuer. */
export interface Machine {
  /** Of the service identity, or of the trusted issuer. */
  readonly id: string
}

/**
 * Undefined for people, who have roles, and for tokens that whoever runs the hub has signed on its host, which come
 * from no sign-on (`orchestrator token`).
 */
export const machineOf = ({
  roles,
  sessionId,
}: Pick<Principal, 'roles' | 'sessionId'>): Machine | undefined =>
  sessionId === undefined || roles.size > 0 ? undefined : { id: sessionId.slice(0, sessionId.indexOf('.')) }

const CONTROL: readonly string[] = PLANE_SCOPES.control

const givesControl = (scopes: readonly string[]): boolean => scopes.some((scope) => CONTROL.includes(scope))

const forbidden = (detail: string): Problem => new Problem('forbidden', detail)

/** Errors: `forbidden` when a machine would give, change or take scopes of the control plane. */
export function mayGive(machine: Machine | undefined, ...scopes: readonly (readonly string[])[]): void {
  if (machine && scopes.some(givesControl))
    throw forbidden(
      'A service identity neither makes nor changes one with scopes of the control plane: that needs a person, or a token of the hub’s host.',
    )
}

/** A machine changes its own secret, and those of others only when they reach no further than the exec plane. */
export function mayRotate(
  machine: Machine | undefined,
  target: { readonly id: string; readonly scopes: readonly string[] },
): void {
  if (machine && machine.id !== target.id && givesControl(target.scopes))
    throw forbidden(
      'A service identity gives no new secret to another one with scopes of the control plane: that needs a person, or a token of the hub’s host.',
    )
}

/** Errors: `forbidden` for a machine: an issuer could sign as many others as it likes. */
export function mayTrust(machine: Machine | undefined): void {
  if (machine)
    throw forbidden(
      'A service identity does not say which issuers are trusted: that needs a person, or a token of the hub’s host.',
    )
}
