import type { GoodRequest } from './requests.ts'
import { bundleDocument, REASON, type World } from './world.ts'

/** Requests about bundles. `depends` says what of the connectors below a pointer is open. */
export function bundleRequests(
  world: World,
  hubUrl: string,
  depends: (connectors: string) => Pick<GoodRequest, 'refine' | 'open'>,
): Readonly<Record<string, GoodRequest>> {
  const body = { bundle: bundleDocument(world, hubUrl), as: world.slug }
  const open = depends('/bundle/config/connectors')
  return {
    exportBundle: {},
    getBundleSchema: {},
    planBundle: { body, ...open },
    // What is there already: any plan will do, and nothing changes.
    importBundle: { body: { ...body, plan: '0'.repeat(64), reason: REASON }, ...open },
  }
}
