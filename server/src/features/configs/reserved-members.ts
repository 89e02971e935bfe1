import { canonicalJson } from '../../platform/canonical-json.ts'
import type { ProblemDetail } from '../../problems.ts'
import { isReservedName, reservedNameFault } from '../reserved-names/reserved-names.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { memberOf } from './members.ts'

const PARTS = ['policies', 'connectors'] as const

/** Names of the hub itself that somebody else would add or change; what stands in the active config may stay or go. */
export const reservedFaults = (
  before: ConfigDocument | undefined,
  after: ConfigDocument,
  actor: string,
): ProblemDetail[] =>
  PARTS.flatMap((part) =>
    Object.entries(after[part]).flatMap(([name, member]) => {
      const message = reservedNameFault(name, actor)
      if (message === undefined) return []
      const was = memberOf(before ?? EMPTY_DOCUMENT, part, name)
      if (was && canonicalJson(was) === canonicalJson(member)) return []
      return [{ path: `/${part}/${name}`, message }]
    }),
  )

/** The document without what the hub itself has added to it for a while. */
export const productPart = ({ policies, connectors }: ConfigDocument): ConfigDocument => ({
  policies: Object.fromEntries(Object.entries(policies).filter(([name]) => !isReservedName(name))),
  connectors: Object.fromEntries(Object.entries(connectors).filter(([name]) => !isReservedName(name))),
})

/** `document` with what the hub itself has in `active` now: replacing a whole config disturbs no verification. */
export const withHubPart = (document: ConfigDocument, active: ConfigDocument): ConfigDocument => ({
  policies: {
    ...Object.fromEntries(Object.entries(active.policies).filter(([name]) => isReservedName(name))),
    ...document.policies,
  },
  connectors: {
    ...Object.fromEntries(Object.entries(active.connectors).filter(([name]) => isReservedName(name))),
    ...document.connectors,
  },
})
