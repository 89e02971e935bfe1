import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Applies,
  receivedSample,
  signedSample,
  toolsOf,
  type WebhookSample,
} from '../../../../testing/webhook-sample.ts'
import { WEBHOOK_CASES, WEBHOOK_SAMPLES } from '../../../../testing/webhook-samples.ts'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import type { AnyProvider, HeaderValues, ProviderEvent, SignedRequest } from '../provider.ts'
import { PROVIDERS } from './registry.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')

it('every provider file is registered under the name of its file', async () => {
  const files = readdirSync(import.meta.dirname).map((file) => basename(file, '.ts'))
  const providers = files.filter((file) => file !== 'registry' && !file.includes('.test'))
  // Svix is Standard Webhooks under other names.
  expect([...providers, 'svix'].sort()).toEqual([...PROVIDERS.keys()].sort())
})

it('every provider has a sample, and every sample says why a case is not for it', async () => {
  expect(Object.keys(WEBHOOK_SAMPLES).sort()).toEqual([...PROVIDERS.keys()].sort())
  for (const sample of Object.values(WEBHOOK_SAMPLES))
    for (const says of Object.values(sample))
      if (typeof says === 'object' && 'no' in says) expect(says.no).toMatch(/^.{20,}$/)
})

const cases = WEBHOOK_CASES.flatMap(([what, name, sample]): [string, AnyProvider, WebhookSample][] => {
  const provider = PROVIDERS.get(name)
  return provider ? [[what, provider, sample]] : []
})

/** The request with other signatures: none, one or several of the same header. */
function withSignatures(
  { signature }: WebhookSample,
  request: SignedRequest,
  ...values: string[]
): SignedRequest {
  if ('write' in signature) return { ...request, raw: signature.write(request.raw, values[0]) }
  const { [signature.header]: _, ...others } = request.headers
  return {
    ...request,
    headers: values.length === 0 ? others : { ...others, [signature.header]: values },
  }
}

const signatureOf = ({ signature }: WebhookSample, request: SignedRequest): string =>
  'read' in signature ? signature.read(request.raw) : (request.headers[signature.header]?.[0] ?? '')

/** What does not apply to a scheme is no skipped test: its sample says why. */
const applies = (what: Applies | WebhookSample['toleranceMs']): boolean => typeof what !== 'object'

describe.each(cases)('provider %s', (_name, provider, sample) => {
  const [one, two] = sample.secrets
  const settings = sample.settings ?? {}
  const received = (change: Partial<Parameters<typeof signedSample>[1]> = {}, nowMs = NOW): SignedRequest =>
    receivedSample(signedSample(sample, { atMs: NOW, ...change }), nowMs)
  const valid = received()
  const signature = signatureOf(sample, valid)

  const verify = async (
    request: SignedRequest,
    secrets: readonly string[] = [one],
  ): Promise<string | undefined> => {
    const held = secrets.map((secret) => new Secret(secret))
    const verdict = await provider.verify(request, held, settings, toolsOf(sample))
    return verdict.verified ? verdict.secret.reveal() : verdict.cause
  }
  const eventsOf = (request: SignedRequest): readonly ProviderEvent[] =>
    provider.events(provider.parse(request.raw), request, settings)

  it('accepts what the provider signed', async () => {
    expect(await verify(valid)).toBe(one)
  })

  it('accepts whatever the provider signs', async () => {
    const text = fc.string({
      unit: fc.constantFrom(...'abcXYZ0189_-') as fc.Arbitrary<string>,
      minLength: 1,
      maxLength: 60,
    })
    const event = fc.record(
      { id: text, type: text, account: text, livemode: fc.boolean() },
      { requiredKeys: [] },
    )
    await fc.assert(
      fc.asyncProperty(event, fc.constantFrom(one, two), async (change, secret) => {
        const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
        const request = received({ event: given, secrets: [secret] })
        expect(await verify(request, [secret])).toBe(secret)
        expect(eventsOf(request).length).toBeGreaterThan(0)
      }),
      { numRuns: 30 },
    )
  })

  it('refuses a request without a signature', async () => {
    expect(await verify(withSignatures(sample, valid))).toBe('signature_missing')
  })

  it.each([
    ['empty', ''],
    ['blank', ' '],
    ['a comma', ','],
    ['garbage', 'ä�\u0000=,=,==;t=v1=1'],
    ['cut by one character', signature.slice(0, -1)],
    ['longer by one character', `${signature}0`],
    ['half', signature.slice(0, Math.floor(signature.length / 2))],
    ['not hex or base64', signature.replace(/.{8}$/, 'zz!!zz!!')],
    ...(applies(sample.severalSignatures) ? [] : [['in a list with another one', `AAAA,${signature}`]]),
    ['ten thousand signatures', Array.from({ length: 10_000 }, () => signature).join(',')],
    ['ten thousand signatures with spaces', Array.from({ length: 10_000 }, () => signature).join(' ')],
    ['ten thousand commas', ','.repeat(10_000)],
  ])('refuses a signature that is %s, without throwing', async (_what, value) => {
    expect(await verify(withSignatures(sample, valid, value))).toMatch(/^signature_/)
  })

  it('refuses whatever else is in place of the signature, without throwing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 200 }), async (value) => {
        expect(await verify(withSignatures(sample, valid, value))).toMatch(/^signature_/)
      }),
      { numRuns: 200 },
    )
  })

  if ('header' in sample.signature)
    it('refuses a header that was sent twice, also when both are right', async () => {
      expect(await verify(withSignatures(sample, valid, signature, signature))).toBe('signature_malformed')
    })

  it('refuses two of every header that says something, also when both are the same', async () => {
    const outcome = async (request: SignedRequest): Promise<string> => {
      try {
        return `${await verify(request)} ${JSON.stringify(eventsOf(request))}`
      } catch (error) {
        expect(error).toBeInstanceOf(Problem)
        return 'refused'
      }
    }
    const asked = received({ event: { account: 'acct_1' } })
    const good = await outcome(asked)
    for (const [name, values = []] of Object.entries(asked.headers)) {
      const { [name]: _, ...without } = asked.headers
      const says = (await outcome({ ...asked, headers: without })) !== good
      const twice = await outcome({ ...asked, headers: { ...without, [name]: [...values, ...values] } })
      if (!says && twice === good) continue
      expect([name, twice]).toEqual([name, expect.stringMatching(/^(?:refused$|signature_)/)])
    }
  })

  it('refuses every request in which any one character of the signature is another', async () => {
    const accepted: number[] = []
    for (const at of signature.split('').keys()) {
      const other = signature[at] === 'b' ? 'c' : 'b'
      const value = `${signature.slice(0, at)}${other}${signature.slice(at + 1)}`
      if ((await verify(withSignatures(sample, valid, value))) === one) accepted.push(at)
    }
    expect(accepted).toEqual([])
  })

  if (applies(sample.allBytesSigned))
    it('refuses the right signature over a body that was parsed and written again', async () => {
      const again = Buffer.from(JSON.stringify(provider.parse(valid.raw)))
      expect(again.equals(valid.raw)).toBe(false)
      expect(await verify({ ...valid, raw: again })).toBe('signature_mismatch')
    })

  if (applies(sample.allBytesSigned))
    it('refuses every body with one byte flipped', async () => {
      const accepted: number[] = []
      for (const at of valid.raw.keys()) {
        const raw = Buffer.from(valid.raw)
        raw.writeUInt8(raw.readUInt8(at) ^ 1, at)
        if ((await verify({ ...valid, raw })) !== 'signature_mismatch') accepted.push(at)
      }
      expect(accepted).toEqual([])
    })

  if (applies(sample.allBytesSigned))
    it('refuses whatever is changed in the body', async () => {
      const edit = fc.record({
        at: fc.nat(valid.raw.length),
        removed: fc.nat(20),
        put: fc.uint8Array({ maxLength: 20 }),
      })
      await fc.assert(
        fc.asyncProperty(edit, async ({ at, removed, put }) => {
          const raw = Buffer.concat([valid.raw.subarray(0, at), put, valid.raw.subarray(at + removed)])
          fc.pre(!raw.equals(valid.raw))
          expect(await verify({ ...valid, raw })).toBe('signature_mismatch')
        }),
        { numRuns: 100 },
      )
    })

  it('refuses an empty body under the signature of another one', async () => {
    expect(await verify({ ...valid, raw: Buffer.alloc(0) })).toMatch(/^signature_/)
  })

  it('refuses the signature of another event', async () => {
    const other = signatureOf(sample, received({ event: { id: 'another_event', type: 'another.type' } }))
    // Where the id is a header, the body of the other event is the same and its signature too.
    if (other !== signature)
      expect(await verify(withSignatures(sample, valid, other))).toBe('signature_mismatch')
  })

  if (applies(sample.allBytesSigned))
    it('takes the bytes as they are, also when they are not UTF-8', async () => {
      const broken = Buffer.concat([valid.raw, Buffer.from([0xff, 0xfe])])
      const other = Buffer.concat([valid.raw, Buffer.from([0xfd, 0xfc])])
      expect(await verify({ ...valid, raw: broken })).toBe('signature_mismatch')
      // A decoder would read both as U+FFFD: what was signed for one must not pass for the other.
      const decoded = received({ body: Buffer.from(broken.toString('utf8')) })
      expect(await verify({ ...decoded, raw: broken })).toBe('signature_mismatch')
      expect(await verify({ ...decoded, raw: other })).toBe('signature_mismatch')
    })

  const tolerance = typeof sample.toleranceMs === 'number' ? sample.toleranceMs : undefined
  if (tolerance !== undefined)
    it('accepts a clock that is away by the tolerance, no more', async () => {
      const limit = tolerance ?? 0
      for (const offset of [-limit, -1_000, 0, 1_000, limit])
        expect([offset, await verify({ ...valid, nowMs: NOW + offset })]).toEqual([offset, one])
      for (const offset of [-limit - 1_000, limit + 1_000, 10 * 86_400_000])
        expect([offset, await verify({ ...valid, nowMs: NOW + offset })]).toEqual([
          offset,
          'timestamp_outside_tolerance',
        ])
    })

  if (tolerance === undefined)
    it('accepts at any time what carries no signed time', async () => {
      for (const offset of [-86_400_000, 400 * 86_400_000])
        expect(await verify({ ...valid, nowMs: NOW + offset })).toBe(one)
    })

  if (applies(sample.severalSignatures))
    it('accepts when only the second of two signatures is valid', async () => {
      expect(await verify(received({ secrets: [two, one] }))).toBe(one)
    })

  it('accepts when only the second of two secrets is the right one, and says which', async () => {
    expect(await verify(valid, [two, one])).toBe(one)
    expect(await verify(valid, [two])).toBe('signature_mismatch')
  })

  it('accepts the old value of a secret only as long as it is in force', async () => {
    const rotated = new Secret(two, [new Secret(one)])
    const during = await provider.verify(valid, rotated.inForce(), settings, toolsOf(sample))
    expect(during).toMatchObject({ verified: true })
    expect(during.verified && during.secret.reveal()).toBe(one)
    const after = await provider.verify(valid, new Secret(two).inForce(), settings, toolsOf(sample))
    expect(after).toEqual({ verified: false, cause: 'signature_mismatch' })
  })

  it('never accepts an empty secret or none, and nothing with one that is no key', async () => {
    expect(await verify(valid, [])).toBe('no_usable_secret')
    expect(await verify(valid, [''])).toBe('no_usable_secret')
    expect(await verify(valid, ['', one])).toBe(one)
    for (const odd of [
      '\n',
      ' ',
      'whsec_',
      'whsec_%%%',
      'ä',
      '\u0000',
      `${one}\n`,
      'whpk_',
      'x'.repeat(9_999),
    ])
      expect([odd, await verify(valid, [odd])]).toEqual([odd, expect.not.stringContaining(one)])
  })

  it('reads the same event in every repetition of it and another one in every other', async () => {
    const [event] = eventsOf(valid)
    const [again] = eventsOf(received({ atMs: NOW + 60_000 }))
    const [other] = eventsOf(received({ event: { id: 'another_event' } }))
    expect(again?.eventId).toBe(event?.eventId)
    expect(other?.eventId).not.toBe(event?.eventId)
    expect(event?.occurredAt.getTime()).not.toBeNaN()
  })

  it('reads the same again from the bytes that are kept', () => {
    const parsed = provider.parse(valid.raw)
    for (const { part } of eventsOf(valid)) {
      const raw = part?.bytes ?? valid.raw
      expect(provider.parse(raw)).toEqual(part?.payload ?? parsed)
    }
  })

  it('reads the same bytes as the same event under every content type, and without one', async () => {
    const { 'content-type': _, ...without } = received({ event: { account: 'acct_1' } }).headers
    const request = received({ event: { account: 'acct_1' } })
    const events = eventsOf(request)
    for (const type of [
      undefined,
      'application/x-www-form-urlencoded',
      'application/json',
      'text/plain',
      'multipart/form-data; boundary=a',
    ]) {
      const headers = type === undefined ? without : { ...without, 'content-type': [type] }
      expect([type, await verify({ ...request, headers })]).toEqual([type, one])
      expect([type, eventsOf({ ...request, headers })]).toEqual([type, events])
    }
  })

  if (applies(sample.account))
    it('reads the account', async () => {
      const [event] = eventsOf(received({ event: { account: 'acct_1' } }))
      expect(event?.accounts).toContain('acct_1')
      const [other] = eventsOf(received({ event: { account: 'acct_2' } }))
      expect(other?.accounts).not.toContain('acct_1')
    })

  if (applies(sample.livemode))
    it('reads whether it is live', async () => {
      for (const livemode of [true, false])
        expect(eventsOf(received({ event: { livemode } }))).toMatchObject([{ livemode }])
    })

  if (!applies(sample.livemode))
    it('leaves to the route whether it is live', async () => {
      expect(eventsOf(valid)).toMatchObject([{ livemode: null }])
    })

  it('keeps no header that is a key to something', async () => {
    for (const header of provider.keptHeaders) {
      expect(header).toBe(header.toLowerCase())
      expect(header).not.toMatch(/cookie|authorization|api-key|token/)
    }
  })

  it('answers any JSON and any headers with events or a problem, nothing else', async () => {
    const names = Object.keys(valid.headers)
    const headers = fc.dictionary(fc.constantFrom(...names), fc.array(fc.string(), { maxLength: 2 }))
    const body = fc.oneof(fc.json(), fc.string(), fc.constantFrom(valid.raw.toString('latin1')))
    await fc.assert(
      fc.property(body, headers, (text, some) => {
        const request = { ...valid, raw: Buffer.from(text), headers: some as HeaderValues }
        try {
          const parsed = provider.parse(request.raw)
          if (!provider.handshake?.(parsed, request)) provider.events(parsed, request, settings)
        } catch (error) {
          expect(error).toBeInstanceOf(Problem)
          expect(['malformed_body', 'validation_error']).toContain((error as Problem).code)
        }
      }),
      { numRuns: 300 },
    )
  })
})
