/** One good request for each operation of the quarantine. */
import type { GoodRequest } from './good-request.ts'
import { REASON, type World } from './world.ts'

const reason = { reason: REASON }

export function quarantineRequests(world: World): Readonly<Record<string, GoodRequest>> {
  const { keptId, discardId, platform } = world.quarantine
  const filter = {
    ...{ provider: 'stripe', route_id: world.routeId },
    ...{ from: '2026-01-01T00:00:00Z', to: '2036-01-01T00:00:00Z' },
  }
  const list = { limit: '10', reason: 'signature_mismatch', state: 'kept', ...filter }
  const cursor = Buffer.from(JSON.stringify([keptId])).toString('base64url')
  const many = { ...filter, refused_for: 'unknown_account', cursor, limit: 5, ...reason }
  // Of nothing: the others still need what is there.
  const discard = { ...filter, refused_for: 'ambiguous', limit: 5, ...reason }
  return {
    discardManyQuarantine: { body: discard },
    discardManyPlatformQuarantine: { body: discard },
    listQuarantine: { query: list },
    getQuarantineEntry: { params: { id: keptId } },
    verifyQuarantineEntry: { params: { id: keptId }, body: reason },
    verifyManyQuarantine: { body: many },
    discardQuarantineEntry: { params: { id: discardId }, body: reason },
    listPlatformQuarantine: { query: list, ofTheHub: true },
    getPlatformQuarantineEntry: { params: { id: platform.keptId }, ofTheHub: true },
    verifyPlatformQuarantineEntry: { params: { id: platform.keptId }, body: reason },
    verifyManyPlatformQuarantine: { body: many },
    discardPlatformQuarantineEntry: { params: { id: platform.discardId }, body: reason },
    assignPlatformQuarantineEntry: {
      params: { id: platform.assignId },
      body: { workspace_id: world.tenantId, route_id: world.routeId, despite_claim: false, ...reason },
    },
  }
}
