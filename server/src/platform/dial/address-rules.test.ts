import { isIP } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createAddressRules } from './address-rules.ts'

const strict = createAddressRules([])
const open = createAddressRules(['10.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '0.0.0.0/0', '::/0'])

const PUBLIC = [
  '1.1.1.1',
  '8.8.8.8',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.0',
  '168.63.129.15',
  '168.63.129.17',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '2606:4700:4700::1111',
  '2a00:1450:4001:82a::200e',
  '::ffff:8.8.8.8',
]

const PRIVATE = [
  '10.0.0.1',
  '10.255.255.255',
  '100.64.0.1',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.2.1',
  '192.31.196.1',
  '192.52.193.1',
  '192.88.99.1',
  '192.168.0.1',
  '192.175.48.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '240.0.0.1',
  '::1',
  '::7f00:1', // IPv4-compatible loopback
  '::808:808', // IPv4-compatible, even of a public address
  '::ffff:127.0.0.1',
  '::ffff:a00:1',
  '::ffff:0:127.0.0.1', // SIIT
  '64:ff9b::10.0.0.1',
  '64:ff9b::8.8.8.8',
  '64:ff9b:1::10.0.0.1',
  '100::1',
  '2001::1',
  '2001:0:4136:e378:8000:63bf:3fff:fdd2', // Teredo
  '2001:2::1',
  '2001:10::1',
  '2001:20::1',
  '2001:db8::1',
  '2002:7f00:1::1', // 6to4 of the loopback
  '2002:808:808::1',
  '2620:4f:8000::1',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd12:3456:789a::1',
  'fec0::1',
  '2a00:1450::5efe:7f00:1', // ISATAP of the loopback
  '2a00:1450::200:5efe:a00:1',
]

/** Refused whatever is allowed. */
const NEVER = [
  '0.0.0.0',
  '0.1.2.3',
  '100.100.100.200',
  '168.63.129.16',
  '169.254.169.254',
  '169.254.170.2',
  '169.254.0.23',
  '192.0.0.192',
  '224.0.0.1',
  '239.255.255.255',
  '255.255.255.255',
  '::',
  '::ffff:169.254.169.254',
  '::ffff:168.63.129.16',
  '::a9fe:a9fe',
  '::ffff:0:a9fe:a9fe',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b::168.63.129.16',
  '64:ff9b:1:a9fe:a9:fe00::', // RFC 6052 with a /48 prefix
  '2002:a9fe:a9fe::1',
  '2001:0:a9fe:a9fe::1',
  '2001:0:4136:e378:8000:63bf:5601:5601', // Teredo, client address inverted
  '2a00:1450::5efe:a9fe:a9fe',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
  'fe80::1',
  'fe80::a9fe:a9fe',
  'ff02::1',
]

const UNREADABLE = [
  '',
  'localhost',
  '127.1',
  '0x7f.0.0.1',
  '2130706433',
  '0177.0.0.1',
  'fe80::1%eth0',
  '1.1.1.1/32',
]

test.each(PUBLIC)('%s is public', (address) => {
  expect(strict.refusalOf(address)).toBeUndefined()
})

test.each(PRIVATE)('%s is refused, and may be allowed on purpose', (address) => {
  expect(strict.refusalOf(address)).toBeTypeOf('string')
  expect(open.refusalOf(address)).toBeUndefined()
})

test.each(NEVER)('%s is refused even when everything is allowed', (address) => {
  expect(strict.refusalOf(address)).toBe('never allowed')
  expect(open.refusalOf(address)).toBe('never allowed')
})

test.each(UNREADABLE)('"%s" is no address', (text) => {
  expect(open.refusalOf(text)).toBe('unreadable')
})

test('an allowed network opens itself and nothing else', () => {
  const rules = createAddressRules(['10.1.0.0/16', 'fd00:1::/32'])
  expect(rules.refusalOf('10.1.255.255')).toBeUndefined()
  expect(rules.refusalOf('::ffff:10.1.0.1')).toBeUndefined()
  expect(rules.refusalOf('fd00:1::9')).toBeUndefined()
  expect(rules.refusalOf('10.2.0.1')).toBe('private')
  expect(rules.refusalOf('fd00:2::9')).toBe('not global')
})

test('a CIDR that cannot be read stops the start', () => {
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'private', ''])
    expect(() => createAddressRules([text]), text).toThrow(/CIDR/)
})

test('metadata names are refused in every spelling', () => {
  expect(strict.refusalOfName('Metadata.Google.Internal.')).toBe('metadata')
  expect(strict.refusalOfName('metadata.example.com')).toBeUndefined()
})

test('whatever wraps an IPv4 address is never more allowed than the address itself', () => {
  const octet = fc.integer({ min: 0, max: 255 })
  const metadata = fc.constantFrom([169, 254, 169, 254], [168, 63, 129, 16], [100, 100, 100, 200])
  fc.assert(
    fc.property(fc.oneof(fc.tuple(octet, octet, octet, octet), metadata), ([a = 0, b = 0, c = 0, d = 0]) => {
      const plain = `${a}.${b}.${c}.${d}`
      const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
      const wrapped = [`::ffff:${plain}`, `::${hex}`, `64:ff9b::${plain}`, `2002:${hex}::`, `2001:0:${hex}::`]
      for (const address of wrapped) {
        expect(isIP(address)).toBe(6)
        if (strict.refusalOf(plain)) expect(strict.refusalOf(address), address).toBeDefined()
        if (a > 0 && a < 224 && open.refusalOf(plain)) expect(open.refusalOf(address), address).toBeDefined()
      }
    }),
  )
})
