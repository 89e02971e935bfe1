import { type Static, Type } from 'typebox'
import {
  type Asking,
  type FetchedEvent,
  type GapSource,
  isObject,
  type ListedEvent,
  oldestOf,
  unreadable,
} from '../gap-source.ts'

const OperationName = (description: string) =>
  Type.Optional(Type.String({ pattern: '^[a-z0-9]+([._-][a-z0-9]+)*$', maxLength: 63, description }))

const GithubGapSettings = Type.Object(
  {
    list: Type.Optional(
      Type.Enum(['undelivered', 'all'], {
        description:
          '`undelivered` (default): deliveries that the hub did not answer with 2xx. `all`: every delivery, also those that GitHub believes delivered; for after a restore of the database.',
      }),
    ),
    list_operation: OperationName('The operation that lists the deliveries. Default `list_deliveries`.'),
    get_operation: OperationName('The operation that gives one delivery. Default `get_delivery`.'),
    input: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[a-z][a-z0-9_]{0,39}$' }),
        Type.Union([Type.String({ maxLength: 200 }), Type.Integer()]),
        {
          maxProperties: 10,
          description: 'Goes to both operations as it stands, e.g. `owner`, `repo` and `hook_id`.',
        },
      ),
    ),
  },
  { additionalProperties: false },
)

const settingsOf = ({ settings }: Asking): Static<typeof GithubGapSettings> => settings

/** `cursor` of the link to the next page (RFC 8288). */
function nextCursor(link: unknown): string | undefined {
  if (typeof link !== 'string') return undefined
  const [, target] = /<([^<>]*)>\s*;\s*rel="?next"?/.exec(link) ?? []
  const url = target === undefined ? undefined : URL.parse(target, 'https://api.github.com')
  return url?.searchParams.get('cursor') ?? undefined
}

interface Delivery extends ListedEvent {
  readonly delivered: boolean
  readonly installation: unknown
}

function readDelivery(value: unknown): Delivery {
  if (!isObject(value)) throw unreadable('a delivery is no object')
  const { id, guid, event, action, status_code: status, delivered_at: at, installation_id } = value
  if (typeof guid !== 'string' || typeof event !== 'string')
    throw unreadable('a delivery has no guid or no event')
  // Beyond that a number in JSON is not read as it was written.
  if (!Number.isSafeInteger(id)) throw unreadable('a delivery has no id that can be read exactly')
  const occurredAt = new Date(typeof at === 'string' ? at : Number.NaN)
  if (Number.isNaN(occurredAt.getTime())) throw unreadable('a delivery has no time')
  return {
    eventId: guid,
    type: typeof action === 'string' && action !== '' ? `${event}.${action}` : event,
    occurredAt,
    handle: String(id),
    delivered: typeof status === 'number' && status >= 200 && status < 300,
    installation: installation_id,
  }
}

/** An app lists the deliveries of all of its installations. */
const isOfAccount = ({ route: { account } }: Asking, { installation }: Delivery): boolean =>
  account === null ||
  !/^\d+$/.test(account) ||
  typeof installation !== 'number' ||
  String(installation) === account

/** Several deliveries of one event: it is enough that one has come through. */
function eachOnce(deliveries: readonly Delivery[]): Delivery[] {
  const delivered = new Set(deliveries.filter((one) => one.delivered).map(({ eventId }) => eventId))
  const seen = new Set<string>()
  return deliveries.filter(({ eventId }) => {
    const first = !seen.has(eventId) && !delivered.has(eventId)
    seen.add(eventId)
    return first
  })
}

function headersOf(value: unknown): FetchedEvent['headers'] {
  if (!isObject(value)) throw unreadable('the headers of a delivery are no object')
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, text]) =>
      typeof text === 'string' ? [[name.toLowerCase(), [text]]] : [],
    ),
  )
}

/**
 * GitHub: the deliveries of a webhook of a repository, an organization or an app, of the last days, the newest first.
 * Redeliveries have the guid of the first delivery. What GitHub gives is the payload as a value, not its bytes.
 * Source: docs.github.com/rest/repos/webhooks (list and get deliveries), /rest/apps/webhooks.
 */
export const github: GapSource = {
  provider: 'github',
  connectorKinds: ['http'],
  settings: GithubGapSettings,
  list: async (asking, { from, until }, after) => {
    const { list = 'undelivered', list_operation = 'list_deliveries', input } = settingsOf(asking)
    const answer = await asking.ask(list_operation, {
      ...input,
      ...(after !== undefined && { cursor: after }),
    })
    const { deliveries, link } = isObject(answer) ? answer : { deliveries: answer, link: undefined }
    if (!Array.isArray(deliveries)) throw unreadable('it has no list of deliveries')
    const read = deliveries.map(readDelivery)
    const wanted = (list === 'all' ? read : eachOnce(read)).filter(
      (one) => one.occurredAt >= from && one.occurredAt <= until && isOfAccount(asking, one),
    )
    const older = read.some(({ occurredAt }) => occurredAt < from)
    return { events: wanted, oldest: oldestOf(read), next: older ? undefined : nextCursor(link) }
  },
  fetch: async (asking, handle) => {
    const { get_operation = 'get_delivery', input } = settingsOf(asking)
    const answer = await asking.ask(get_operation, { ...input, delivery_id: Number(handle) })
    const request = isObject(answer) ? answer.request : undefined
    if (!isObject(request) || !isObject(request.payload)) throw unreadable('a delivery has no payload')
    const { 'content-type': _, ...headers } = headersOf(request.headers)
    return {
      headers: { ...headers, 'content-type': ['application/json'] },
      bytes: Buffer.from(JSON.stringify(request.payload)),
    }
  },
}
