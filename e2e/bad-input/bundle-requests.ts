import { REASON, type World } from './world.ts'
import { bundleDocument } from './world-documents.ts'

/** Requests about bundles. What the schema of a config refuses is spoilt at `storeConfig`. */
export function bundleRequests(world: World, hubUrl: string) {
  const body = { bundle: bundleDocument(world, hubUrl), as: world.slug }
  const inRoute = '/bundle/webhook_routes/0'
  const open = ['/bundle/config', `${inRoute}/settings`, `${inRoute}/gap_check/settings`]
  return {
    exportBundle: {},
    getBundleSchema: {},
    planBundle: { body, open },
    // What is there already: any plan will do, and nothing changes.
    importBundle: { body: { ...body, plan: '0'.repeat(64), reason: REASON }, open },
  }
}
