import type { ServerResponse } from 'node:http'
import type { Answer, SeenRequest } from './upstream.ts'

/** An event at Stripe as its API and its webhooks have it: the `event` of Stripe's own fixtures, with other values. */
export const stripeEvent = (id: string, created: number, more: Readonly<Record<string, unknown>> = {}) => ({
  api_version: '2026-10-28.endive',
  created,
  data: {
    object: { id: 'price_1PgafmB7WZ01zgkW6dKueIc5', object: 'plan', active: true, nickname: 'Käse ☕' },
  },
  id,
  livemode: false,
  object: 'event',
  pending_webhooks: 1,
  request: { id: null, idempotency_key: null },
  type: 'plan.created',
  ...more,
})

export interface StripeEvents {
  /** In any order; `delivered` is what Stripe believes. */
  readonly events: (ReturnType<typeof stripeEvent> & { readonly delivered?: boolean })[]
  readonly answer: Answer
}

const send = (response: ServerResponse, status: number, body: unknown, headers: object = {}): void =>
  void response
    .writeHead(status, { 'content-type': 'application/json', ...headers })
    .end(JSON.stringify(body))

const pathOf = ({ url }: SeenRequest): URL => new URL(url, 'http://provider')

/** `GET /v1/events` and `/v1/events/:id` as docs.stripe.com/api/events says they are. */
export function stripeEvents(pageSize = 100): StripeEvents {
  const events: StripeEvents['events'] = []
  const known = ({ delivered: _, ...event }: StripeEvents['events'][number]) => event
  const missing = (id: string | null) => ({
    error: { type: 'invalid_request_error', code: 'resource_missing', message: `No such event: '${id}'` },
  })
  return {
    events,
    answer: (response, request) => {
      const { pathname, searchParams: query } = pathOf(request)
      const id = /^\/v1\/events\/(\w+)$/.exec(pathname)?.[1]
      const one = events.find((event) => event.id === id)
      if (id !== undefined) return send(response, one ? 200 : 404, one ? known(one) : missing(id))
      const sorted = events
        .filter(
          ({ created, delivered = false }) =>
            created >= Number(query.get('created[gte]') ?? 0) &&
            created <= Number(query.get('created[lte]') ?? Infinity) &&
            (query.get('delivery_success') === null || String(delivered) === query.get('delivery_success')),
        )
        .sort((left, right) => right.created - left.created || (left.id < right.id ? 1 : -1))
      const after = query.get('starting_after')
      const start = after === null ? 0 : sorted.findIndex((event) => event.id === after) + 1
      if (after !== null && start === 0) return send(response, 400, missing(after))
      const page = sorted.slice(start, start + Math.min(pageSize, Number(query.get('limit') ?? 10)))
      const has_more = start + page.length < sorted.length
      send(response, 200, { object: 'list', data: page.map(known), has_more, url: '/v1/events' })
    },
  }
}

export interface GithubDelivery {
  readonly id: number
  readonly guid: string
  readonly deliveredAt: string
  readonly statusCode?: number
  readonly installation?: number
  readonly redelivery?: boolean
}

/**
 * `GET …/deliveries` and `…/deliveries/:id` as docs.github.com/rest/repos/webhooks says they are, below any path: pages
 * by the `cursor` of a link.
 */
export function githubDeliveries(pageSize = 100) {
  const deliveries: GithubDelivery[] = []
  const view = (of: GithubDelivery) => ({
    id: of.id,
    guid: of.guid,
    delivered_at: of.deliveredAt,
    redelivery: of.redelivery ?? false,
    duration: 0.27,
    status: (of.statusCode ?? 502) < 300 ? 'OK' : 'Bad Gateway',
    status_code: of.statusCode ?? 502,
    event: 'issues',
    action: 'opened',
    installation_id: of.installation ?? null,
    repository_id: 1_296_269,
    throttled_at: null,
  })
  const answer: Answer = (response, request) => {
    const url = pathOf(request)
    const id = Number(/\/deliveries\/(\d+)$/.exec(url.pathname)?.[1])
    const one = deliveries.find((delivery) => delivery.id === id)
    if (one)
      return send(response, 200, {
        ...view(one),
        url: 'https://hooks.example.com/webhooks/github',
        request: {
          headers: {
            Accept: '*/*',
            'content-type': 'application/json',
            'User-Agent': 'GitHub-Hookshot/0123456',
            'X-GitHub-Delivery': one.guid,
            'X-GitHub-Event': 'issues',
            'X-Hub-Signature-256': `sha256=${'0'.repeat(64)}`,
          },
          payload: {
            action: 'opened',
            issue: { number: 7, title: 'Käse ☕' },
            repository: { id: 1_296_269, full_name: 'octo/shop', owner: { login: 'octo' } },
            ...(one.installation && { installation: { id: one.installation } }),
          },
        },
        response: { headers: {}, payload: '' },
      })
    if (!url.pathname.endsWith('/deliveries')) return send(response, 404, { message: 'Not Found' })
    const sorted = [...deliveries].sort((left, right) => right.id - left.id)
    const cursor = url.searchParams.get('cursor')
    const start = cursor === null ? 0 : sorted.findIndex((delivery) => `v1_${delivery.id}` === cursor)
    if (start < 0) return send(response, 422, { message: 'Invalid cursor' })
    const page = sorted.slice(start, start + pageSize)
    const next = sorted[start + page.length]
    const link =
      next && `<https://api.github.com${url.pathname}?per_page=${pageSize}&cursor=v1_${next.id}>; rel="next"`
    send(response, 200, page.map(view), link ? { link } : {})
  }
  return { deliveries, answer }
}

/** The operations of an `http` connector that the check of GitHub needs, as docs/webhook-gaps.md gives them. */
export const GITHUB_OPERATIONS = {
  list_deliveries: {
    method: 'GET',
    path: '/repos/{owner}/{repo}/hooks/{hook_id}/deliveries',
    query: { per_page: '100', cursor: '{{input.cursor}}' },
    response: { deliveries: '{{response.body}}', link: '{{response.headers.link}}' },
    input: {
      type: 'object',
      properties: {
        owner: { type: 'string' },
        repo: { type: 'string' },
        hook_id: { type: 'integer' },
        cursor: { type: 'string' },
      },
      required: ['owner', 'repo', 'hook_id'],
      additionalProperties: false,
    },
  },
  get_delivery: {
    method: 'GET',
    path: '/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}',
    input: {
      type: 'object',
      properties: {
        owner: { type: 'string' },
        repo: { type: 'string' },
        hook_id: { type: 'integer' },
        delivery_id: { type: 'integer' },
      },
      required: ['owner', 'repo', 'hook_id', 'delivery_id'],
      additionalProperties: false,
    },
  },
}
