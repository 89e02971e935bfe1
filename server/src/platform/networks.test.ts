import { expect, it } from 'vitest'
import { isInNetworks } from './networks.ts'

const isInside = isInNetworks(['10.1.0.0/16', '127.0.0.0/8', 'fd00::/8'])

it.each(['10.1.0.1', '10.1.255.255', '127.0.0.1', '::ffff:10.1.2.3', 'fd12::1'])(
  '%s lies in them',
  (address) => {
    expect(isInside(address)).toBe(true)
  },
)
it.each(['10.2.0.1', '11.1.0.1', '::1', '::ffff:10.2.0.1', 'fe80::1', '', 'unknown', '10.1.0.1.evil'])(
  '%j does not',
  (address) => {
    expect(isInside(address)).toBe(false)
  },
)
it('nothing lies in no network', () => {
  expect(isInNetworks([])('127.0.0.1')).toBe(false)
})
