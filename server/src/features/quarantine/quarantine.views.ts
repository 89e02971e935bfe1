import { isUtf8 } from 'node:buffer'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import type { Entry, QuarantineDetail } from './quarantine.schema.ts'
import { type QuarantineContents, type QuarantineRow, whereTo } from './quarantine.ts'

const MAX_EVENTS_SHOWN = 20

/** A workspace is not shown what was sent to an account that it has not proved to have. */
const isWithheld = ({ sealed, tenant_id }: QuarantineRow): boolean => sealed && tenant_id !== NO_WORKSPACE

const contentsOf = (row: QuarantineRow): Entry['contents'] => {
  if (row.state === 'released' || row.state === 'discarded') return 'gone'
  return isWithheld(row) ? 'withheld' : 'shown'
}

export const entryView = (row: QuarantineRow): Entry => ({
  id: row.id,
  state: row.expired ? 'expired' : row.state,
  provider: row.provider,
  path: `POST /webhooks/${row.provider}${row.path_route === null ? '' : `/${row.path_route}`}`,
  route_id: row.route_id,
  reason: row.reason,
  authentic: row.authentic,
  contents: contentsOf(row),
  accounts: [...row.accounts],
  livemode: row.livemode,
  events: row.events.slice(0, MAX_EVENTS_SHOWN).map((event) => ({ ...event, accounts: [...event.accounts] })),
  event_count: row.events.length,
  size: row.size,
  sha256: isWithheld(row) ? null : row.sha256.toString('hex'),
  seen: row.seen,
  received_at: row.received_at.toISOString(),
  last_seen_at: row.last_seen_at.toISOString(),
  expires_at: row.expires_at.toISOString(),
  request_id: row.request_id,
  trace_id: row.trace_id,
  released_to: whereTo(row.tenant_id, row.targets ?? []),
  ended_at: row.ended_at?.toISOString() ?? null,
  ended_by: row.ended_by,
  ended_reason: row.ended_why,
})

/** The body only as a JSON string: nothing of it is ever sent as what it says that it is. */
export function detailView(row: QuarantineContents): QuarantineDetail {
  const shown = contentsOf(row) === 'shown'
  const body = shown ? row.body : null
  const encoding = body && (isUtf8(body) ? 'utf-8' : 'base64')
  return {
    ...entryView(row),
    copies: (shown ? (row.copies ?? []) : []).map(({ at, url, headers }) => ({
      received_at: new Date(at).toISOString(),
      url,
      headers: Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, [...values]])),
    })),
    payload: body && encoding ? body.toString(encoding) : null,
    payload_encoding: encoding,
  }
}
