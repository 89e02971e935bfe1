import fc from 'fast-check'
import { expect, it } from 'vitest'
import { eventOnDelivery, matchesGlob, ROUTE_DEFAULTS, type RouteSettings, routeDelivers } from './route.ts'

it.each([
  ['*', 'invoice.paid', true],
  ['*', '', true],
  ['invoice.paid', 'invoice.paid', true],
  ['invoice.paid', 'invoice.paid2', false],
  ['invoice.*', 'invoice.paid', true],
  ['invoice.*', 'invoice.', true],
  ['invoice.*', 'invoices', false],
  ['*.deleted', 'customer.subscription.deleted', true],
  ['*.deleted', 'deleted', false],
  ['customer.*.updated', 'customer.subscription.updated', true],
  ['customer.*.updated', 'customer.updated', false],
  ['a*a', 'a', false],
  ['a*a', 'aa', true],
  ['*ab*ab*', 'xabxab', true],
  ['*ab*ab*', 'xab', false],
  ['**', 'x', true],
  ['invoice?paid', 'invoice.paid', false],
  ['.*', 'invoice.paid', false],
])('%s against %s is %s', (pattern, text, fits) => {
  expect(matchesGlob(pattern, text)).toBe(fits)
})

it('agrees with the regular expression that the glob means', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
  const glob = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 6 })
  fc.assert(
    fc.property(glob, text, (pattern, value) => {
      const meant = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
      return matchesGlob(pattern, value) === meant.test(value)
    }),
    { numRuns: 2_000 },
  )
})

it('takes the first rule that fits', () => {
  const route: RouteSettings = {
    ...ROUTE_DEFAULTS,
    provider: 'stripe',
    account: null,
    livemode: false,
    connector: 'product',
    secretRefs: ['stripe'],
    queue: 'webhook',
    eventTypes: ['invoice.*', 'customer.created'],
    emitOnDelivery: [
      { eventTypes: ['invoice.paid', 'invoice.voided'], event: 'billing_state_updated' },
      { eventTypes: ['*'], event: 'anything' },
    ],
  }
  expect(eventOnDelivery(route, 'invoice.voided')).toBe('billing_state_updated')
  expect(eventOnDelivery(route, 'customer.created')).toBe('anything')
  expect(eventOnDelivery({ ...route, emitOnDelivery: [] }, 'invoice.paid')).toBeUndefined()
  expect(routeDelivers(route, 'customer.created')).toBe(true)
  expect(routeDelivers(route, 'customer.deleted')).toBe(false)
})
