/** A route as answers, requests and bundles write it, and back: the one place that knows both spellings. */
import type { Static, TObject } from 'typebox'
import { momentAt } from '../../platform/http/moment.ts'
import type { QueueName } from '../../queue/job.ts'
import { ROUTE_DEFAULTS, type RouteSettings } from './route.ts'
import { rowOf } from './route-rows.ts'
import type { RouteFields } from './webhook-routes.schema.ts'

type Fields = Static<TObject<typeof RouteFields>> & {
  readonly account: string | null
  readonly queue: QueueName
}

/** Without its id: what differs by workspace is left out. */
export const fieldsOf = (route: RouteSettings): Required<Fields> =>
  structuredClone(rowOf(route)) as Required<Fields>

/**
 * `at` is where the route stands in the request. Errors: `validation_error` for a window with a moment that does not
 * exist.
 */
export const settingsOf = (fields: Fields, at = '/body'): RouteSettings => ({
  provider: fields.provider,
  account: fields.account,
  livemode: fields.livemode,
  connector: fields.connector,
  secretRefs: fields.secret_refs,
  queue: fields.queue,
  eventTypes: fields.event_types,
  emitOnDelivery: fields.emit_on_delivery.map(({ event_types, event }) => ({
    eventTypes: event_types,
    event,
  })),
  secretWindows: (fields.secret_windows ?? ROUTE_DEFAULTS.secretWindows).map((window, index) => {
    const moment = (name: 'valid_from' | 'valid_until') =>
      window[name] === null ? null : momentAt(`${at}/secret_windows/${index}/${name}`, window[name])
    return {
      secretRef: window.secret_ref,
      validFrom: moment('valid_from'),
      validUntil: moment('valid_until'),
    }
  }),
  settings: fields.settings ?? ROUTE_DEFAULTS.settings,
  ordering: fields.ordering
    ? { key: fields.ordering.key, limitMs: fields.ordering.limit_ms }
    : ROUTE_DEFAULTS.ordering,
  gapCheck: fields.gap_check
    ? {
        connector: fields.gap_check.connector,
        pull: fields.gap_check.pull,
        everySeconds: fields.gap_check.every_seconds,
        settings: fields.gap_check.settings,
      }
    : ROUTE_DEFAULTS.gapCheck,
})
