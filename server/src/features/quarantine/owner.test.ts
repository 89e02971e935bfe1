import { expect, test } from 'vitest'
import { newId } from '../../platform/ids.ts'
import { ROUTE_DEFAULTS, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { RefusedWebhook } from '../webhooks/webhooks.ts'
import { findWebhookProvider } from '../webhooks/webhooks.ts'
import { ownerOf } from './owner.ts'

const route: WebhookRoute = {
  ...{ ...ROUTE_DEFAULTS, provider: 'github', account: 'acme', livemode: false, connector: 'product' },
  ...{ secretRefs: ['signing'], id: newId(), tenantId: newId(), paused: null, version: 1 },
  ...{ createdAt: new Date(0), createdBy: 'test' },
}

const ofAway = (routeId: string | undefined): RefusedWebhook => ({
  request: {
    provider: findWebhookProvider('github') ?? expect.unreachable(),
    routeId,
    ...{ raw: Buffer.alloc(0), headers: {}, url: undefined },
    call: { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' },
  },
  refused: [
    {
      found: false,
      cause: 'secret_away',
      authentic: false,
      route,
      event: {
        ...{ eventId: 'e', type: 't', accounts: ['acme'], livemode: null, occurredAt: new Date(0) },
      },
    },
  ],
})

test('what came while the store of a secret was away is for the workspace that can mend it', () => {
  const owner = { tenantId: route.tenantId, routeId: route.id }
  expect(ownerOf(ofAway(route.id))).toMatchObject({ ...owner, sealed: false })
  // Nobody has proved that it is theirs.
  expect(ownerOf(ofAway(undefined))).toMatchObject({ ...owner, sealed: true })
})
