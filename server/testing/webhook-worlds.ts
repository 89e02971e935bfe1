/**
 * Random routes in several workspaces, random requests of a provider, and an oracle that says who should get which
 * event. It knows the rules of docs/webhooks.md and nothing of how the hub works.
 */
import * as fc from 'fast-check'
import type { ProviderEvent, SignedRequest } from '../src/features/webhooks/provider.ts'
import { PROVIDERS } from '../src/features/webhooks/providers/registry.ts'
import { receivedSample, type WebhookSample } from './webhook-sample.ts'
import { adyenBody, adyenItem } from './webhook-samples/adyen.ts'

/** What a workspace is to the hub, which is one of dev. */
export const PLACES = ['active', 'second', 'suspended', 'deleting', 'prod'] as const
export type Place = (typeof PLACES)[number]

const ACCOUNTS = ['acme', 'globex'] as const
/** When a secret counts; of one that is away the value cannot be read at the moment. */
const WINDOWS = ['always', 'open', 'over', 'not yet', 'away'] as const

export interface PlannedRoute {
  readonly place: Place
  /** Which of the account names of the provider it claims; null = none. */
  readonly claims: number | null
  readonly livemode: boolean
  /** By number of the secret: when it counts. */
  readonly secrets: readonly { readonly secret: number; readonly window: (typeof WINDOWS)[number] }[]
}

export interface PlannedRequest {
  /** Of its events; undefined = the event names none. */
  readonly accounts: readonly (string | undefined)[]
  readonly livemode: boolean
  /** Numbers of the secrets that sign it. */
  readonly signedWith: readonly number[]
  readonly old: boolean
  /** Which content type it says, which nobody signs; null = none. Absent = the sender's own. */
  readonly contentType?: string | null
  /** The route in whose path it is sent; `nobody` = to a route that there is not. */
  readonly to: number | 'nobody' | undefined
}

export interface World {
  readonly provider: string
  readonly routes: readonly PlannedRoute[]
  readonly requests: readonly PlannedRequest[]
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the tests know nothing of it')
  return value
}

const often = <T>(usual: T, ...others: readonly T[]): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: fc.constant(usual), weight: 8 }, ...others.map((other) => fc.constant(other)))

const secretNumber = fc.integer({ min: 0, max: 1 })

const plannedRoute: fc.Arbitrary<PlannedRoute> = fc.record({
  place: fc.oneof(
    { arbitrary: fc.constantFrom<Place>('active', 'second'), weight: 4 },
    fc.constantFrom(...PLACES),
  ),
  claims: fc.option(fc.nat({ max: 9 }), { freq: 2 }),
  livemode: often(false, true),
  secrets: fc.uniqueArray(
    fc.record({ secret: secretNumber, window: often<(typeof WINDOWS)[number]>('always', ...WINDOWS) }),
    { minLength: 1, maxLength: 2, selector: ({ secret }) => secret },
  ),
})

const plannedRequest: fc.Arbitrary<PlannedRequest> = fc.record({
  accounts: fc.array(
    fc.oneof(
      { arbitrary: fc.constantFrom(...ACCOUNTS), weight: 4 },
      fc.constantFrom(undefined, 'nobody-claims-this'),
    ),
    { minLength: 1, maxLength: 3 },
  ),
  livemode: often(false, true),
  signedWith: fc.uniqueArray(secretNumber, { minLength: 1, maxLength: 2 }),
  old: often(false, true),
  contentType: fc.constantFrom('application/json', 'application/x-www-form-urlencoded', 'text/plain', null),
  to: fc.oneof(
    { arbitrary: fc.constant(undefined), weight: 3 },
    fc.nat({ max: 6 }),
    fc.constant('nobody' as const),
  ),
})

export const worlds = (providers: readonly string[]): fc.Arbitrary<World> =>
  fc.record({
    provider: fc.constantFrom(...providers),
    routes: fc.array(plannedRoute, { minLength: 1, maxLength: 7 }),
    requests: fc.array(plannedRequest, { minLength: 1, maxLength: 4 }),
  })

/** A request as it is sent; `events` as the provider reads them. */
export interface MadeRequest {
  readonly signed: SignedRequest
  readonly events: readonly ProviderEvent[]
}

/** Every event of it has an id that begins with `mark`. */
export function makeRequest(
  sample: WebhookSample,
  provider: string,
  { accounts, livemode, signedWith, old, contentType }: PlannedRequest,
  { mark, nowMs, url }: { readonly mark: string; readonly nowMs: number; readonly url: string },
): MadeRequest {
  const { toleranceMs } = sample
  const secrets = signedWith.map((number) => present(sample.secrets[number]))
  const [account] = accounts
  const event = { id: `${mark}-0`, livemode, ...(account !== undefined && { account }) }
  const items = accounts.map((merchant, at) =>
    adyenItem({
      pspReference: `${mark}-${at}`,
      ...(merchant !== undefined && { merchantAccountCode: merchant }),
    }),
  )
  const body = provider === 'adyen' ? adyenBody(items, livemode) : sample.body(event)
  const atMs = old && typeof toleranceMs === 'number' ? nowMs - toleranceMs - 60_000 : nowMs
  const signed = receivedSample(sample.sign({ event, body, secrets, atMs, url }), nowMs)
  const { parse, events } = present(PROVIDERS.get(provider))
  const { 'content-type': own, ...others } = signed.headers
  const type = contentType === undefined ? own : contentType === null ? undefined : [contentType]
  return {
    signed: { ...signed, headers: { ...others, ...(type && { 'content-type': type }) } },
    // What the sender means: read as the sender labels it.
    events: events(parse(signed.raw), signed, sample.settings ?? {}),
  }
}

/** The names under which routes of the provider may claim what the requests are about. */
export const claimable = (sample: WebhookSample, provider: string): readonly string[] => [
  ...new Set(
    [...ACCOUNTS, undefined].flatMap((account) => {
      const planned = { accounts: [account], livemode: false, signedWith: [0], old: false, to: undefined }
      const where = { mark: 'claimed', nowMs: Date.now(), url: 'https://hooks.example.com/x' }
      return makeRequest(sample, provider, planned, where).events.flatMap(({ accounts }) => accounts)
    }),
  ),
]

/** A route that there is. */
export interface KnownRoute extends PlannedRoute {
  readonly account: string | null
}

export type Expected =
  /** By event: the place that has it, or none: then it is in quarantine. */
  | { readonly status: 200; readonly owners: readonly (Place | undefined)[] }
  | { readonly status: 202 }
  | { readonly status: 401 }
  | { readonly status: 503 }

type Outcome = Place | 'nobody' | 'refused' | 'unsure'

/** Who should get what of a request. */
export function expectedOf(
  provider: string,
  sample: WebhookSample,
  routes: readonly KnownRoute[],
  request: PlannedRequest,
  events: readonly ProviderEvent[],
): Expected {
  const outcomes = events.map((event) => outcomeOf(provider, sample, routes, request, event))
  if (outcomes.includes('unsure')) return { status: 503 }
  if (outcomes.includes('refused')) return { status: 401 }
  const owners = outcomes.map((outcome) =>
    outcome === 'nobody' || outcome === 'refused' || outcome === 'unsure' ? undefined : outcome,
  )
  return owners.some((owner) => owner !== undefined) ? { status: 200, owners } : { status: 202 }
}

function outcomeOf(
  provider: string,
  sample: WebhookSample,
  routes: readonly KnownRoute[],
  request: PlannedRequest,
  { accounts, livemode }: ProviderEvent,
): Outcome {
  const rules = present(PROVIDERS.get(provider))
  const several = sample.severalSignatures === true
  const signers = several ? request.signedWith : request.signedWith.slice(0, 1)
  const tooOld = request.old && typeof sample.toleranceMs === 'number'
  const signs = ({ place, secrets }: KnownRoute): boolean =>
    place !== 'deleting' &&
    secrets.some(
      ({ secret, window }) => signers.includes(secret) && (window === 'always' || window === 'open'),
    )
  const verifies = (route: KnownRoute): boolean => !tooOld && signs(route)
  const mayVerify = (route: KnownRoute): boolean =>
    route.place !== 'deleting' && !signs(route) && route.secrets.some(({ window }) => window === 'away')
  if (livemode === true) return 'refused'

  const claimers = routes.filter(
    (route) => !route.livemode && route.account !== null && accounts.includes(route.account),
  )
  const own = routes.filter((route) => !route.livemode && route.account === null)
  const takesAny = accounts.length === 0 || rules.accounts === 'any'
  const byId = request.to !== undefined
  const addressed = typeof request.to === 'number' ? routes.slice(request.to, request.to + 1) : []
  // A claim that does not verify keeps nothing from a route that proves it.
  const named = byId ? addressed : claimers
  const proven = named.filter(verifies)
  const verified = proven.length > 0 || byId || !takesAny ? proven : own.filter(verifies)
  const [owner] = verified
  if (!owner) {
    // Whose the request says it is must come again; where that is read by settings only the path says it.
    if ((byId || !rules.readsBySettings) && named.some(mayVerify)) return 'unsure'
    // Whose secret it is, if anybody's of this hub.
    const known =
      !byId && routes.some((route) => !route.livemode && route.place !== 'prod' && verifies(route))
    return known ? 'nobody' : 'refused'
  }
  if (verified.length > 1) return 'nobody'
  const doubted =
    rules.accountIsSigned === false &&
    !byId &&
    routes.some((route) => route.place !== owner.place && verifies(route))
  if (doubted) return 'nobody'
  if (owner.place === 'prod' || owner.livemode) return 'refused'
  const fits = owner.account === null ? takesAny : accounts.includes(owner.account)
  return fits ? owner.place : 'nobody'
}
