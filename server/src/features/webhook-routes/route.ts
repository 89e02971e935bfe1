import type { QueueName } from '../../queue/job.ts'

/** When the delivery of an event of one of these types ends as done, the hub appends the event `event`. */
export interface EmitRule {
  readonly eventTypes: readonly string[]
  readonly event: string
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
  readonly queue: QueueName
  /** Globs; an event that fits none is kept and not delivered. */
  readonly eventTypes: readonly string[]
  readonly emitOnDelivery: readonly EmitRule[]
}

export interface WebhookRoute extends RouteSettings {
  readonly id: string
  readonly tenantId: string
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
export const eventOnDelivery = (route: RouteSettings, eventType: string): string | undefined =>
  route.emitOnDelivery.find(({ eventTypes }) => matchesAny(eventTypes, eventType))?.event
