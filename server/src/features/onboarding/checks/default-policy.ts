import type { Check } from '../check.ts'
import { activeDocument } from '../plane-documents.ts'
import { isProductPolicy } from '../stage-names.ts'
import { mustBe, passed } from '../verdict.ts'

interface DefaultPolicy {
  readonly timeouts?: object
  readonly retry?: object
  readonly rate_limits?: Readonly<Record<string, { readonly mode?: string } | null>>
}

/** A policy of the workspace's own, and not only what the hub falls back to: somebody has decided about it. */
export const defaultPolicy: Check = {
  name: 'default-policy',
  proves: 'The active config has a default policy, and limits are in force.',
  mend: 'PUT /policies/default with the time limits of the product, e.g. {"timeouts":{"attempt_ms":5000,"total_ms":10000}}.',
  gives: 'policy',
  run: async ({ control }) => {
    const { document, version } = await activeDocument(control)
    mustBe(version !== undefined, 'The workspace has no active config yet.')
    const own = document.policies.default as DefaultPolicy | undefined
    mustBe(own !== undefined, `Config ${version} has no policy \`default\`.`)
    const limits = own.rate_limits ?? {}
    // What the policy does not name is inherited, and the hub's own limits are in force.
    const inForce = (['workspace', 'connector'] as const).filter(
      (scope) => limits[scope] === undefined || limits[scope]?.mode !== 'off',
    )
    mustBe(
      inForce.some((scope) => limits[scope] !== null),
      'The policy `default` switches the rate limits of the workspace and of its connectors off.',
      'Give `rate_limits.workspace` or `rate_limits.connector` of the policy `default` a rule, or leave both out.',
    )
    const others = Object.keys(document.policies).filter(
      (name) => name !== 'default' && isProductPolicy(name),
    )
    return passed(`config ${version}; limits of ${inForce.join(' and ')}; ${others.length} further policies`)
  },
}
