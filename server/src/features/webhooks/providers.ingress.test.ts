/**
 * The contract of providers as somebody outside sees it: what is wrong with a request is answered with the same bytes
 * whether the account and the route that it names exist or not, and nothing of it is stored.
 */
import type { OutgoingHttpHeaders } from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../testing/webhook-hub.ts'
import { type IngressAnswer, type WebhookIngress, webhookIngress } from '../../../testing/webhook-ingress.ts'
import {
  type Applies,
  PUBLIC_URL,
  type SignedSample,
  signedSample,
  type WebhookSample,
} from '../../../testing/webhook-sample.ts'
import { WEBHOOK_CASES, WEBHOOK_SAMPLES } from '../../../testing/webhook-samples.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { PROVIDERS } from './providers/registry.ts'
import { webhooksIngress } from './webhooks.ingress.ts'

const BODY_LIMIT = 100_000
/** The hub gives every request ids of its own, which would make any two answers differ. */
const IDS = { 'x-request-id': 'same-request', 'x-correlation-id': 'same-correlation' }

let database: TestDatabase
let hub: WebhookHub
let ingress: WebhookIngress
let tenantId: string

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform, 'dev', undefined, undefined, {
    fetch: async (url) => {
      for (const sample of Object.values(WEBHOOK_SAMPLES)) if (sample.tools) return sample.tools.fetch?.(url)
      throw new Error(`nobody has ${url}`)
    },
  })
  const { accept } = hub
  ingress = await webhookIngress(database.platform, (app) =>
    webhooksIngress(app, { accept, bodyLimitBytes: BODY_LIMIT, publicUrl: PUBLIC_URL }),
  )
  tenantId = await hub.workspace('known-dev')
})

afterAll(async () => {
  await ingress.close()
  await hub.close()
  await database.drop()
})

it('one sample at most asks somebody else', () => {
  expect(Object.values(WEBHOOK_SAMPLES).filter((sample) => sample.tools !== undefined).length).toBeLessThan(2)
})

/** Rows of every table. */
async function everything(): Promise<Record<string, number>> {
  const tables = await hub.query<{ name: string }>(
    `select format('%I', relname) as name from pg_class
     where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace order by 1`,
  )
  const counts = tables.map(({ name }) => `(select count(*) from ${name}) as ${name}`)
  const [row] = await hub.query<Record<string, number>>(`select ${counts.join(', ')}`)
  return row ?? {}
}

/** What does not apply to a scheme is no skipped test: its sample says why. */
const applies = (what: Applies | WebhookSample['toleranceMs']): boolean => typeof what !== 'object'

/** The same meaning in other bytes. */
function writtenAgain(body: Buffer): Buffer {
  const text = body.toString('utf8')
  return Buffer.from(
    text.startsWith('{') ? JSON.stringify(JSON.parse(text)) : new URLSearchParams(text).toString(),
  )
}

/** A request that is wrong in one way, made of one that is right. */
type Wrong = (sign: (change?: Partial<Parameters<typeof signedSample>[1]>) => SignedSample) => {
  readonly body: Buffer | { readonly chunks: readonly Buffer[] }
  readonly headers: OutgoingHttpHeaders
  readonly url: string
}

/** What is wrong, and which statuses it may be answered with. */
function wrongs(sample: WebhookSample): Record<string, [readonly number[], Wrong]> {
  const { signature } = sample
  const read = ({ body, headers }: SignedSample): string =>
    'read' in signature ? signature.read(body) : (headers[signature.header] ?? '')
  const withSignature = (signed: SignedSample, values: string | string[] | undefined) => {
    if ('write' in signature)
      return { ...signed, body: signature.write(signed.body, Array.isArray(values) ? values[0] : values) }
    const { [signature.header]: _, ...others } = signed.headers
    return { ...signed, headers: { ...others, ...(values !== undefined && { [signature.header]: values }) } }
  }
  const damaged = (
    damage: (signature: string) => string | string[] | undefined,
  ): [readonly number[], Wrong] => [
    [401],
    (sign) => {
      const signed = sign()
      return withSignature(signed, damage(read(signed)))
    },
  ]
  const flipped = (share: number): [readonly number[], Wrong] => [
    // JSON that is none any more is told so before anybody looks at its signature.
    [400, 401],
    (sign) => {
      const signed = sign()
      const body = Buffer.from(signed.body)
      const at = Math.floor((body.length - 1) * share)
      body.writeUInt8(body.readUInt8(at) ^ 1, at)
      return { ...signed, body }
    },
  ]
  /** Signed too, where that can be done with what is no event. */
  const signedBody = (sign: Parameters<Wrong>[0], body: Buffer): SignedSample =>
    'header' in signature ? sign({ body }) : { ...sign(), body }
  const { toleranceMs } = sample
  return {
    'no signature': damaged(() => undefined),
    'an empty signature': damaged(() => ''),
    'half a signature': damaged((valid) => valid.slice(0, valid.length / 2)),
    'a longer signature': damaged((valid) => `${valid}0`),
    garbage: damaged(() => '=,=;; v1 %00 {}'),
    'another secret': [[401], (sign) => sign({ secrets: [sample.secrets[1]] })],
    ...('header' in signature && { 'the signature twice': damaged((valid) => [valid, valid]) }),
    ...(applies(sample.allBytesSigned) && {
      'a body that was written again': [
        [401],
        (sign) => {
          const signed = sign()
          return { ...signed, body: writtenAgain(signed.body) }
        },
      ],
      'its first byte flipped': flipped(0),
      'a byte flipped': flipped(0.4),
      'another byte flipped': flipped(0.7),
      'its last byte flipped': flipped(1),
    }),
    ...(typeof toleranceMs === 'number' && {
      'an old time': [[401], (sign) => sign({ atMs: Date.now() - toleranceMs - 60_000 })],
      'a time in the future': [[401], (sign) => sign({ atMs: Date.now() + toleranceMs + 60_000 })],
    }),
    gzip: [
      [415],
      (sign) => {
        const signed = signedBody(sign, gzipSync(sample.body()))
        return { ...signed, headers: { ...signed.headers, 'content-encoding': 'gzip' } }
      },
    ],
    'more bytes than fit': [[413], (sign) => signedBody(sign, Buffer.alloc(BODY_LIMIT + 1, 0x20))],
    'more bytes than fit, in chunks': [
      [413],
      (sign) => ({
        ...sign(),
        body: { chunks: Array.from({ length: 30 }, () => Buffer.alloc(4_000, 0x20)) },
      }),
    ],
    'invalid UTF-8': [
      [400],
      (sign) => signedBody(sign, Buffer.concat([sample.body(), Buffer.from([0xff, 0xfe])])),
    ],
    'an empty body': [[400], (sign) => signedBody(sign, Buffer.alloc(0))],
    ...(applies(sample.livemode) && {
      'a live event under a test secret': [[401], (sign) => sign({ event: { livemode: true } })],
    }),
  }
}

describe.each(WEBHOOK_CASES)('provider %s', (what, name, sample) => {
  // Each case has an account of its own, all of the same length, so that the same bytes are flipped.
  const number = 10 + WEBHOOK_CASES.findIndex(([each]) => each === what)
  const [KNOWN, UNKNOWN] = [`acct_known_${number}`, `acct_other_${number}`]
  const hasAccount = applies(sample.account)
  let path: string
  let secretName: string
  let routeId: string

  beforeAll(async () => {
    const route = await hub.route(tenantId, {
      provider: name,
      account: hasAccount ? KNOWN : null,
      secret: sample.secrets[0],
      ...(sample.settings && { settings: sample.settings }),
    })
    routeId = route.id
    path = `/webhooks/${name}/${routeId}`
    secretName = `${tenantId}/${route.secretRefs[0]}`
  })

  const send = ({ body, headers, url }: ReturnType<Wrong>): Promise<IngressAnswer> =>
    ingress.post(url.slice(PUBLIC_URL.length), body, { ...headers, ...IDS })

  const signer =
    (account: string, to = `/webhooks/${name}`): Parameters<Wrong>[0] =>
    ({ event, ...change } = {}) =>
      signedSample(sample, {
        ...{ atMs: Date.now(), url: `${PUBLIC_URL}${to}`, ...change },
        event: { id: 'id-1', ...(hasAccount && { account }), ...event },
      })

  const inbox = () =>
    hub.query<{ id: string; tenant_id: string; account: string | null; headers: Record<string, string> }>(
      `select i.id, i.tenant_id, i.account, p.headers from webhook_inbox i
       join webhook_payload p using (tenant_id, id) where i.route_id = $1 order by i.received_at`,
      [routeId],
    )

  it('is told the same of what exists and of what does not, and nothing of it is stored', async () => {
    const before = await everything()
    const found: Record<string, unknown> = {}
    for (const [fault, [statuses, wrong]] of Object.entries(wrongs(sample))) {
      const senders = {
        'the known account': signer(KNOWN),
        'an unknown account': signer(UNKNOWN),
        'the known route': signer(KNOWN, path),
        'an unknown account of the known route': signer(UNKNOWN, path),
        'an unknown route': signer(KNOWN, `/webhooks/${name}/${newId()}`),
      }
      const answers: [string, string][] = []
      for (const [whose, sign] of Object.entries(senders)) {
        const { status, text, headers } = await send(wrong(sign))
        const { date: _, traceparent: __, ...comparable } = headers
        if (!statuses.includes(status) || JSON.parse(text).status !== status)
          found[`${fault} of ${whose}`] = text
        answers.push([whose, JSON.stringify({ status, text, comparable })])
      }
      const [[, expected] = ['', '']] = answers
      for (const [whose, answer] of answers)
        if (answer !== expected) found[`${fault}: ${whose} is told apart`] = { answer, expected }
    }
    expect(found).toEqual({})
    expect(await everything()).toEqual(before)
  })

  it('reaches the workspace of its route when nothing is wrong, with the headers that prove it', async () => {
    const signed = signer(KNOWN)()
    expect(await send(signed)).toMatchObject({ status: 200 })
    expect(await send(signer(KNOWN, path)())).toMatchObject({ status: 200 })
    const [row, ...copies] = await inbox()
    expect(row).toMatchObject({ tenant_id: tenantId, ...(hasAccount && { account: KNOWN }) })
    expect(copies).toEqual([])
    const provider = PROVIDERS.get(name)
    const kept = [
      ...(provider?.keptHeaders ?? []),
      ...(provider?.headersNamed?.(sample.settings ?? {}) ?? []),
    ]
    const proof = Object.entries(signed.headers).filter(([header]) => kept.includes(header))
    expect(proof.length > 0).toBe('header' in sample.signature)
    expect(row?.headers).toMatchObject(Object.fromEntries(proof))
  })

  if (hasAccount)
    it('reaches nobody when its account is unknown, and is kept in quarantine', async () => {
      const before = await everything()
      const quarantined = hub.quarantined.length
      // In a flood, as the test above is one, no other routes are asked whose it may be.
      await vi.waitFor(
        async () =>
          expect(await send(signer(UNKNOWN)())).toMatchObject({
            status: 202,
            text: PROVIDERS.get(name)?.reply?.body ?? '{"received":true,"quarantined":true}',
          }),
        { timeout: 5_000, interval: 200 },
      )
      expect(hub.quarantined.length).toBeGreaterThan(quarantined)
      expect(hub.quarantined.at(-1)?.refused).toMatchObject([{ authentic: true }])
      expect(await everything()).toEqual(before)
    })

  if (applies(sample.severalSignatures))
    it('is taken when the second of two signatures fits', async () => {
      const [one, two] = sample.secrets
      const before = await inbox()
      const signed = signer(KNOWN)({ event: { id: 'id-2', type: 'second.signature' }, secrets: [two, one] })
      expect(await send(signed)).toMatchObject({ status: 200 })
      expect(await inbox()).toHaveLength(before.length + 1)
    })

  it('is taken under the old secret until its grace is over', async () => {
    const [one, two] = sample.secrets
    const before = await inbox()
    const old = () => signer(KNOWN)({ event: { id: 'id-3', type: 'old.secret' } })
    hub.secrets.set(secretName, new Secret(two, [new Secret(one)]))
    expect(await send(old())).toMatchObject({ status: 200 })
    hub.secrets.set(secretName, two)
    expect(await send(old())).toMatchObject({ status: 401 })
    hub.secrets.set(secretName, one)
    expect(await inbox()).toHaveLength(before.length + 1)
  })

  const { question } = sample
  if (question)
    it('is answered whether we are there, under a secret of a route and no other', async () => {
      const body = question?.body ?? Buffer.alloc(0)
      const before = await everything()
      for (const to of [undefined, path])
        expect(await send(signer(KNOWN, to)({ body }))).toMatchObject({ status: 200, text: question?.answer })
      const forged = await send(signer(KNOWN)({ body, secrets: [sample.secrets[1]] }))
      expect(forged).toMatchObject({ status: 401 })
      expect(forged.text).not.toContain('3eZbrw1aBm2rZgRN')
      expect(await everything()).toEqual(before)
    })
})
