import type { QueueName } from '../../queue/job.ts'

/** When the delivery of an event of one of these types ends as done, the hub appends the event `event`. */
export interface EmitRule {
  readonly eventTypes: readonly string[]
  readonly event: string
}

/** When a secret of the route verifies; outside of it the secret counts as absent. */
export interface SecretWindow {
  readonly secretRef: string
  readonly validFrom: Date | null
  readonly validUntil: Date | null
}

/** Events with the same value at `key` are delivered one after the other. */
export interface Ordering {
  /** A JSON pointer into the payload, e.g. `/data/object/id`. An event without it is delivered at once. */
  readonly key: string
  /** An event that is not delivered after this time is overtaken; it goes on being tried. */
  readonly limitMs: number
}

/** How the provider is asked for what never arrived. */
export interface GapCheck {
  /** A connector of the workspace that may read the provider's API. */
  readonly connector: string
  /** `automatic`: what is missing is pulled in at once; `manual`: it is shown, and a person pulls it in. */
  readonly pull: 'automatic' | 'manual'
  readonly everySeconds: number
  /** What the provider's list needs beside it, e.g. the repository and id of a hook of GitHub. */
  readonly settings: Readonly<Record<string, unknown>>
}

/** What may be chosen when a route is made. */
export interface RouteSettings {
  readonly provider: string
  /** The provider's account; null = the sender's own account, told apart by the signing secret. */
  readonly account: string | null
  readonly livemode: boolean
  /** A connector of kind `callback` of the same workspace. */
  readonly connector: string
  /** Names of secret refs of the workspace; a signature by any of them counts. */
  readonly secretRefs: readonly string[]
  /** At most one per secret ref; a secret ref without one is valid always. */
  readonly secretWindows: readonly SecretWindow[]
  /** By the schema of the provider. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly queue: QueueName
  /** Globs; an event that fits none is kept and not delivered. */
  readonly eventTypes: readonly string[]
  readonly emitOnDelivery: readonly EmitRule[]
  readonly ordering: Ordering | null
  readonly gapCheck: GapCheck | null
}

/** What a route is that says nothing of it. */
export const ROUTE_DEFAULTS = {
  account: null,
  secretWindows: [],
  settings: {},
  queue: 'webhook',
  eventTypes: ['*'],
  emitOnDelivery: [],
  ordering: null,
  gapCheck: null,
} as const satisfies Partial<RouteSettings>

export interface WebhookRoute extends RouteSettings {
  readonly id: string
  readonly tenantId: string
  /** Its events are held until somebody lets it go on. */
  readonly paused: { readonly at: Date; readonly by: string; readonly why: string } | null
  /** Rises with every change: the `ETag` of the route. */
  readonly version: number
  readonly createdAt: Date
  readonly createdBy: string
}

/**
 * True when `text` fits `pattern`, in which `*` stands for any run of characters, dots included. Linear in the
 * text for each part of the pattern: unlike a regular expression it cannot be made to backtrack.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return pattern === text
  if (!text.startsWith(first)) return false
  let from = first.length
  for (const part of rest) {
    const at = text.indexOf(part, from)
    if (at < 0) return false
    from = at + part.length
  }
  return text.length - last.length >= from && text.endsWith(last)
}

const matchesAny = (patterns: readonly string[], text: string): boolean =>
  patterns.some((pattern) => matchesGlob(pattern, text))

/** True when the route delivers events of this type. */
export const routeDelivers = (route: RouteSettings, eventType: string): boolean =>
  matchesAny(route.eventTypes, eventType)

/** The event to append when the delivery is done: the first rule that fits counts. */
export const eventOnDelivery = (
  route: Pick<RouteSettings, 'emitOnDelivery'>,
  eventType: string,
): string | undefined =>
  route.emitOnDelivery.find(({ eventTypes }) => matchesAny(eventTypes, eventType))?.event
