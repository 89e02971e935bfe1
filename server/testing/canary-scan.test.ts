import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { canaryScan } from './canary-scan.ts'

const VALUE = `canary/${randomBytes(12).toString('hex')}+ä"x`
const find = canaryScan({ key: VALUE })

describe('the scan for canaries', () => {
  it.each<[string, string | Buffer]>([
    ['in the middle of a text', `before ${VALUE} after`],
    ['in JSON', JSON.stringify({ deep: [{ value: VALUE }] })],
    ['in JSON that stands in JSON', JSON.stringify(JSON.stringify({ value: VALUE }))],
    ['in a URL', `https://x.example/?key=${encodeURIComponent(VALUE)}&y`],
    ['as hex, as Postgres shows bytes', `\\x00${Buffer.from(VALUE).toString('hex')}00`],
    ['alone in base64', Buffer.from(VALUE).toString('base64')],
    ['in base64 after one byte', Buffer.from(`a${VALUE}b`).toString('base64')],
    ['in Basic credentials', Buffer.from(`id:${VALUE}`).toString('base64')],
    ['in base64url', Buffer.from(`user:${VALUE}`).toString('base64url')],
    [
      'between bytes that are no text',
      Buffer.concat([Buffer.from([0xff, 0]), Buffer.from(VALUE), Buffer.from([0xfe])]),
    ],
  ])('finds it %s', (_name, text) => {
    expect(find('here', text)).toContainEqual(expect.objectContaining({ canary: 'key', place: 'here' }))
  })

  it('finds nothing where nothing is', () => {
    expect(find('here', `${VALUE.slice(0, -1)} ${randomBytes(1_000).toString('base64')}`)).toEqual([])
    // What is packed has to be unpacked first.
    expect(find('here', gzipSync(VALUE))).toEqual([])
  })

  it('takes no value that stands somewhere by chance', () => {
    expect(() => canaryScan({ short: 'abc' })).toThrow('too short')
  })
})
