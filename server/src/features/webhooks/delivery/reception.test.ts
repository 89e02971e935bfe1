import { expect, test } from 'vitest'
import { ROUTE_DEFAULTS, type WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { type Destination, receptionOf } from './reception.ts'

const route: WebhookRoute = {
  ...ROUTE_DEFAULTS,
  provider: 'stripe',
  livemode: false,
  connector: 'product',
  secretRefs: ['signing'],
  eventTypes: ['invoice.*'],
  id: 'route',
  tenantId: 'tenant',
  paused: null,
  version: 1,
  createdAt: new Date(0),
  createdBy: 'somebody',
}
const paused = { at: new Date(0), by: 'hub', why: 'gone' }
const open = { route, connector: {}, workspace: { status: 'active' } } as const
const receive = (changes: Partial<Destination & { route: WebhookRoute }> = {}, type = 'invoice.paid') =>
  receptionOf({ ...open, ...changes, event: { type } })

test('with nothing in the way an event is delivered', () => {
  expect(receive()).toEqual({ state: 'accepted' })
})

test.each([
  ['route_paused', { route: { ...route, paused } }],
  ['connector_missing', { connector: undefined }],
  ['workspace_suspended', { workspace: { status: 'suspended' } }],
  ['workspace_suspended', { workspace: { status: 'deleting' } }],
  ['workspace_suspended', { workspace: undefined }],
] as const)('held: %s', (why, changes) => {
  expect(receive(changes)).toEqual({ state: 'held', why })
})

test('of several causes the one that goes over all others is told', () => {
  const all = { route: { ...route, paused }, connector: undefined, workspace: undefined }
  expect(receive(all)).toEqual({ state: 'held', why: 'workspace_suspended' })
  expect(receive({ ...all, workspace: { status: 'active' } })).toEqual({ state: 'held', why: 'route_paused' })
})

test('an event that no filter takes is not held for a delivery that it will never have', () => {
  expect(receive({ route: { ...route, paused } }, 'charge.failed')).toEqual({ state: 'ignored' })
})
