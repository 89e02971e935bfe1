import { isUtf8 } from 'node:buffer'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { obstaclesOf } from '../../queue/obstacles.ts'
import { findJob } from '../../queue/read.ts'
import { getRoute, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { type DeliveryTarget, type HeldWhy, whyHeld } from '../webhooks/webhooks.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { findInbox, findPayloads, type InboxRow } from './inbox.sql.ts'
import { type InboxItem, withStatus } from './status.ts'

export interface InboxPayload {
  readonly headers: Readonly<Record<string, string>>
  /** Null when the bytes are no UTF-8, are in the payload store, or were erased. */
  readonly text: string | null
  /** In the payload store under this id. */
  readonly storedAs: string | null
  readonly erasedAt: Date | null
  /** Hex; also of what was erased. */
  readonly sha256: string
}

/** Why an event is not delivered yet. */
export interface Wait {
  readonly reason: string
  /** One sentence, for operators. */
  readonly message: string
  /** When it ends by itself; null when that depends on somebody. */
  readonly until: Date | null
}

export interface InboxDetail extends InboxItem {
  /** Undefined when it is no longer kept. */
  readonly payload: InboxPayload | undefined
  /** Empty: it only waits for its turn, or for nothing. */
  readonly waits: readonly Wait[]
}

/** The same words for a row that does not exist and for one of another workspace. */
export const inboxNotFound = (): Problem => new Problem('not_found', 'There is no such webhook in the inbox.')

/** What must happen before a held event goes on, by what it waits for now. */
const HELD: Readonly<Record<HeldWhy, string>> = {
  route_paused: 'Its webhook route is paused; it goes on when the route is resumed.',
  connector_missing:
    'The connector of its webhook route is missing or cannot be used; it goes on when the active config has it.',
  workspace_suspended: 'The workspace is suspended; it goes on when the workspace is resumed.',
}

/** Where it can be seen whether anything is in the way of a held event. */
export interface DetailDeps {
  /** Where the connector is in the active config; undefined = it has no such connector. Errors: `database_unavailable`. */
  readonly target: (tenantId: string, connector: string) => Promise<DeliveryTarget | undefined>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
}

/** One inbox row with what is kept of its request and what it waits for. Errors: `not_found`. */
export async function getInboxDetail(
  on: Queryable,
  deps: DetailDeps,
  tenantId: string,
  id: string,
): Promise<InboxDetail> {
  const row = await findInbox(on, { tenantId, id })
  const [item] = row ? await withStatus(on, tenantId, [row]) : []
  if (!item) throw inboxNotFound()
  const [payload] = await findPayloads(on, { tenantId, ids: [id] })
  return {
    ...item,
    waits: await waitsOf(on, deps, tenantId, item),
    payload: payload && {
      headers: payload.headers,
      text: payload.body && isUtf8(payload.body) ? payload.body.toString('utf8') : null,
      storedAs: payload.payload_id,
      erasedAt: payload.erased_at,
      sha256: payload.sha256.toString('hex'),
    },
  }
}

export const findRoute = (on: Queryable, tenantId: string, id: string): Promise<WebhookRoute | undefined> =>
  getRoute(on, tenantId, id).catch((error: unknown) => {
    if (error instanceof Problem && error.code === 'not_found') return undefined
    throw error
  })

/** By the same rule as the release, and not by what held the event first: that may be over, and something else in its way. */
async function heldWaits(on: Queryable, deps: DetailDeps, tenantId: string, row: InboxRow): Promise<Wait> {
  const route = await findRoute(on, tenantId, row.route_id)
  const why = whyHeld({
    route: { paused: route?.paused ?? null },
    connector: await deps.target(tenantId, route?.connector ?? row.connector),
    workspace: await deps.workspaces.find(tenantId),
  })
  if (why !== undefined) return { reason: why, message: HELD[why], until: null }
  const message = 'Nothing is in its way any more; a worker delivers it when it comes by, in its order.'
  return { reason: 'release', message, until: null }
}

async function waitsOf(
  on: Queryable,
  deps: DetailDeps,
  tenantId: string,
  { row, status }: InboxItem,
): Promise<Wait[]> {
  if (status === 'held') return [await heldWaits(on, deps, tenantId, row)]
  if (status === 'waiting')
    return [
      {
        reason: 'earlier_event',
        message: 'An earlier event with the same ordering key is not delivered yet.',
        until: null,
      },
    ]
  if (row.job_id === null || !OPEN.has(status)) return []
  const found = await obstaclesOf(on, { tenantId, id: row.job_id })
  if (status === 'queued') return [...found]
  const until = (await findJob(on, { tenantId, id: row.job_id }))?.job.runAt ?? null
  const message = status === 'retrying' ? 'The next attempt is due then.' : 'Its time has not come.'
  return [{ reason: status, message, until }, ...found]
}

const OPEN: ReadonlySet<string> = new Set(['queued', 'scheduled', 'retrying'])
