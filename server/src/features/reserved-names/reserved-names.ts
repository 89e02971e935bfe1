/**
 * Names that the hub keeps for itself, so that no product ever takes one and nothing of a product is ever mistaken for
 * what a verification has made. It stands below the features that refuse them.
 */

/** The service identity that a verification works as: the only one that may use the reserved names. */
export const VERIFIER = 'svc:onboarding-verification'

/** What names of connectors, policies and secret refs of a verification begin with. */
export const RESERVED_PREFIX = 'orch-verify-'

export const isReservedName = (name: string): boolean => name.startsWith(RESERVED_PREFIX)

/** Why `actor` may not give this name; undefined when they may. */
export const reservedNameFault = (name: string, actor: string): string | undefined =>
  actor !== VERIFIER && isReservedName(name)
    ? `is a reserved name: the hub keeps ${RESERVED_PREFIX}… for its own verifications`
    : undefined

const NEIGHBOUR = 'onboarding-neighbour'

/** Slug of the workspace that others are held against; from the second one on with its number. */
export const neighbourSlug = (environment: string, number = 1): string =>
  number === 1 ? `${NEIGHBOUR}-${environment}` : `${NEIGHBOUR}-${number}-${environment}`

/** Whether a workspace of this slug is the hub's own neighbour. */
export const isNeighbourSlug = (slug: string): boolean =>
  /^onboarding-neighbour(-[1-9][0-9]{0,3})?-(dev|prod)$/.test(slug)
