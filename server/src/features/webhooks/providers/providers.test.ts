import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { describe, expect, it } from 'vitest'
import { WEBHOOK_SAMPLES, type WebhookSample } from '../../../../testing/webhook-samples.ts'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import type { AnyProvider, HeaderValues } from '../provider.ts'
import { PROVIDERS } from './registry.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')

it('every provider file is registered under the name of its file', async () => {
  const files = readdirSync(import.meta.dirname).map((file) => basename(file, '.ts'))
  expect(files.filter((file) => file !== 'registry' && !file.includes('.test')).sort()).toEqual(
    [...PROVIDERS.keys()].sort(),
  )
})

it('every provider has a sample', async () => {
  expect(Object.keys(WEBHOOK_SAMPLES).sort()).toEqual([...PROVIDERS.keys()].sort())
})

const cases = [...PROVIDERS.values()].flatMap((provider): [string, AnyProvider, WebhookSample][] => {
  const sample = WEBHOOK_SAMPLES[provider.name]
  return sample ? [[provider.name, provider, sample]] : []
})

describe.each(cases)('provider %s', (_name, provider, sample) => {
  const [one, two] = sample.secrets
  const body = sample.body()
  const valid = sample.sign(body, [one], NOW)
  const headersWith = (...values: string[]): HeaderValues => ({ [sample.header]: values })

  const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
  const verify = async (
    change: { raw?: Buffer; headers?: HeaderValues; secrets?: readonly string[]; nowMs?: number } = {},
  ) => {
    const { raw = body, headers = headersWith(valid), secrets = [one], nowMs = NOW } = change
    const verdict = await provider.verify(
      { raw, headers, nowMs, url: undefined },
      secrets.map((secret) => new Secret(secret)),
      {},
      tools,
    )
    return verdict.verified ? verdict.secret.reveal() : verdict.cause
  }

  it('accepts what the provider signed', async () => {
    expect(await verify()).toBe(one)
  })

  it('refuses a missing header', async () => {
    expect(await verify({ headers: {} })).toBe('signature_missing')
  })

  it.each([
    ['empty', ''],
    ['blank', ' '],
    ['a comma', ','],
    ['garbage', 'ä�\u0000=,=,==;t=v1=1'],
    ['cut by one character', valid.slice(0, -1)],
    ['longer by one character', `${valid}0`],
    ['half', valid.slice(0, Math.floor(valid.length / 2))],
    ['not hex or base64', valid.replace(/[0-9a-f]{8}$/, 'zzzz!!!!')],
    ['ten thousand signatures', Array.from({ length: 10_000 }, () => valid).join(',')],
    ['ten thousand commas', ','.repeat(10_000)],
  ])('refuses a header that is %s, without throwing', async (_what, header) => {
    expect(await verify({ headers: headersWith(header) })).toMatch(/^signature_/)
  })

  it('refuses a header that was sent twice, also when both are right', async () => {
    expect(await verify({ headers: headersWith(valid, valid) })).toBe('signature_malformed')
  })

  it('refuses the right signature over a body that was parsed and written again', async () => {
    const again = Buffer.from(JSON.stringify(JSON.parse(body.toString('utf8'))))
    expect(await verify({ raw: again })).toBe('signature_mismatch')
  })

  it('refuses every body with one byte flipped', async () => {
    const accepted: number[] = []
    for (const at of body.keys()) {
      const flipped = Buffer.from(body)
      flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at)
      if ((await verify({ raw: flipped })) !== 'signature_mismatch') accepted.push(at)
    }
    expect(accepted).toEqual([])
  })

  it('refuses an empty body under the signature of another one', async () => {
    expect(await verify({ raw: Buffer.alloc(0) })).toBe('signature_mismatch')
  })

  it('takes the bytes as they are, also when they are not UTF-8', async () => {
    const broken = Buffer.concat([body, Buffer.from([0xff, 0xfe])])
    expect(await verify({ raw: broken })).toBe('signature_mismatch')
    // A decoder would read both as U+FFFD: what was signed for one must not pass for the other.
    const decoded = Buffer.from(broken.toString('utf8'))
    const other = Buffer.concat([body, Buffer.from([0xfd, 0xfc])])
    const headers = headersWith(sample.sign(decoded, [one], NOW))
    expect(await verify({ raw: broken, headers })).toBe('signature_mismatch')
    expect(await verify({ raw: other, headers })).toBe('signature_mismatch')
  })

  it.each([-300_000, -1_000, 0, 1_000, 300_000])('accepts a clock that is %i ms away', async (offset) => {
    expect(await verify({ nowMs: NOW + offset })).toBe(one)
  })

  it.each([-301_000, 301_000, 86_400_000])('refuses a clock that is %i ms away', async (offset) => {
    expect(await verify({ nowMs: NOW + offset })).toBe('timestamp_outside_tolerance')
  })

  it('accepts when only the second of two signatures is valid', async () => {
    expect(await verify({ headers: headersWith(sample.sign(body, [two, one], NOW)) })).toBe(one)
  })

  it('accepts when only the second of two secrets is the right one, and says which', async () => {
    expect(await verify({ secrets: [two, one] })).toBe(one)
    expect(await verify({ secrets: [two] })).toBe('signature_mismatch')
  })

  it('never accepts an empty secret or none', async () => {
    const signedWithNothing = headersWith(sample.sign(body, ['\u0000'], NOW))
    expect(await verify({ secrets: [], headers: signedWithNothing })).toBe('no_usable_secret')
    expect(await verify({ secrets: [''], headers: signedWithNothing })).toBe('no_usable_secret')
    expect(await verify({ secrets: ['', one] })).toBe(one)
  })

  it('reads its own event', async () => {
    const signed = { raw: body, headers: headersWith(valid), nowMs: NOW, url: undefined }
    const [event] = provider.events(provider.parse(signed), signed, {})
    expect(event).toMatchObject({ accounts: [], livemode: false })
    expect(event?.occurredAt.getTime()).not.toBeNaN()
  })

  it.each([
    null,
    true,
    7,
    'text',
    [],
    {},
    [{}],
    { id: 7 },
    { id: 'a', type: 'b', object: 'event', livemode: 'no', created: 1 },
    ...['', 'with space', 'with\u0000nul', 'ümlaut', 'x'.repeat(256)].map((id) => ({
      ...(JSON.parse(body.toString('utf8')) as object),
      id,
    })),
  ])('refuses what is no event of it: %j', (value) => {
    const signed = { raw: body, headers: {}, nowMs: NOW, url: undefined }
    expect(() => provider.events(value, signed, {})).toThrow(Problem)
  })
})
