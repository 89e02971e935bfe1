/** A route as the table has it, and back. */
import type { RouteSettings, WebhookRoute } from './route.ts'
import type { RouteRow } from './webhook-routes.sql.ts'

/** What of a row its route says; the rest is of the hub. */
export type SettingsRow = Pick<
  RouteRow,
  | 'provider'
  | 'account'
  | 'livemode'
  | 'connector'
  | 'secret_refs'
  | 'queue'
  | 'event_types'
  | 'emit_on_delivery'
  | 'secret_windows'
  | 'settings'
  | 'ordering'
  | 'gap_check'
>

export const toRoute = (row: RouteRow): WebhookRoute => ({
  id: row.id,
  tenantId: row.tenant_id,
  provider: row.provider,
  account: row.account,
  livemode: row.livemode,
  connector: row.connector,
  secretRefs: row.secret_refs,
  queue: row.queue,
  eventTypes: row.event_types,
  emitOnDelivery: row.emit_on_delivery.map(({ event_types, event }) => ({ eventTypes: event_types, event })),
  secretWindows: row.secret_windows.map(({ secret_ref, valid_from, valid_until }) => ({
    secretRef: secret_ref,
    validFrom: valid_from === null ? null : new Date(valid_from),
    validUntil: valid_until === null ? null : new Date(valid_until),
  })),
  settings: row.settings,
  ordering: row.ordering && { key: row.ordering.key, limitMs: row.ordering.limit_ms },
  gapCheck: row.gap_check && {
    connector: row.gap_check.connector,
    pull: row.gap_check.pull,
    everySeconds: row.gap_check.every_seconds,
    settings: row.gap_check.settings,
  },
  // The three go together, by a check of the table.
  paused: row.paused_at && { at: row.paused_at, by: row.paused_by ?? '', why: row.paused_why ?? '' },
  version: row.version,
  createdAt: row.created_at,
  createdBy: row.created_by,
})

export const rowOf = (route: RouteSettings): SettingsRow => ({
  provider: route.provider,
  account: route.account,
  livemode: route.livemode,
  connector: route.connector,
  secret_refs: route.secretRefs,
  queue: route.queue,
  event_types: route.eventTypes,
  emit_on_delivery: route.emitOnDelivery.map(({ eventTypes, event }) => ({ event_types: eventTypes, event })),
  secret_windows: route.secretWindows.map(({ secretRef, validFrom, validUntil }) => ({
    secret_ref: secretRef,
    valid_from: validFrom?.toISOString() ?? null,
    valid_until: validUntil?.toISOString() ?? null,
  })),
  settings: route.settings,
  ordering: route.ordering && { key: route.ordering.key, limit_ms: route.ordering.limitMs },
  gap_check: route.gapCheck && {
    connector: route.gapCheck.connector,
    pull: route.gapCheck.pull,
    every_seconds: route.gapCheck.everySeconds,
    settings: route.gapCheck.settings,
  },
})
