/**
 * The door of the configs feature (DESIGN D1). A workspace's config is one immutable document; the pointer says
 * which version is active.
 *
 * Invariants. A version never changes (a trigger refuses it) and numbers rise by one. Changes of one workspace
 * run one after the other. A version, its lanes, the pointer, the audit entry and the event commit together.
 * What becomes active has been checked against everything else the workspace has.
 */
import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Db } from '../../platform/db/db.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import { CONFIG_CHANNEL } from './active-configs.ts'
import {
  addLanes,
  findActive,
  findVersion,
  insertVersion,
  listVersions,
  movePointer,
  type VersionRow,
} from './configs.sql.ts'
import { type ConfigDocument, checkDocument, EMPTY_DOCUMENT } from './document.ts'
import { type Difference, differences } from './document-diff.ts'

export {
  type ActiveConfig,
  type ActiveConfigs,
  type ActiveConnector,
  createActiveConfigs,
} from './active-configs.ts'
export { IfMatchHeaders, versionOf } from './configs.schema.ts'
export { ConfigDocument, DEFAULT_POLICY } from './document.ts'

export interface ConfigDeps {
  readonly db: Db
  /** Names of the workspace's secret refs, read in the transaction of the change. */
  readonly secretNames: (on: Queryable, tenantId: string) => Promise<ReadonlySet<string>>
  /** Says why an address can never be dialled, so that it is refused when it is saved. */
  readonly refusal?: Dial['refusal']
}

export interface StoredVersion {
  readonly version: number
  readonly active: boolean
  readonly sha256: string
  readonly author: string
  readonly reason: string
  readonly createdAt: Date
  readonly document: ConfigDocument
}

interface Target {
  readonly tenantId: string
  /** The active version that the caller saw; undefined = whatever is active. */
  readonly ifMatch?: number | undefined
}

const stored = (row: VersionRow): StoredVersion => ({
  version: row.version,
  active: row.active,
  sha256: row.sha256.toString('hex'),
  author: row.author,
  reason: row.reason,
  createdAt: row.created_at,
  // Checked against the schema before it was stored, and immutable since.
  document: row.document as ConfigDocument,
})

/** The active version; undefined for a workspace that has none yet. */
export async function activeVersion(on: Queryable, tenantId: string): Promise<StoredVersion | undefined> {
  const row = await findActive(on, { tenantId })
  return row && stored(row)
}

/** The active document; an empty one for a workspace without a config. */
export const activeDocument = async (on: Queryable, tenantId: string): Promise<ConfigDocument> =>
  (await activeVersion(on, tenantId))?.document ?? EMPTY_DOCUMENT

/** One version. Errors: `not_found`. */
export async function configVersion(
  on: Queryable,
  tenantId: string,
  version: number,
): Promise<StoredVersion> {
  const row = await findVersion(on, { tenantId, version })
  if (!row) throw new Problem('not_found', 'There is no such config version in this workspace.')
  return stored(row)
}

const isVersionKey = (parts: readonly unknown[]): parts is readonly [number] =>
  parts.length === 1 && Number.isSafeInteger(parts[0])

/** Versions, newest first. Errors: `validation_error` for a cursor of another list. */
export async function listConfigVersions(
  on: Queryable,
  tenantId: string,
  page: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<{ data: StoredVersion[]; next_cursor: string | null }> {
  const before = page.cursor === undefined ? null : decodeCursor(page.cursor, isVersionKey)[0]
  const rows = await listVersions(on, { tenantId, before, limit: page.limit + 1 })
  return pageOf(rows, page.limit, (row) => [row.version], stored)
}

/** Stores a whole document without activating it. Errors: `config_invalid` with every fault. */
export function storeConfig(
  deps: ConfigDeps,
  target: Target,
  document: ConfigDocument,
  change: Change,
): Promise<StoredVersion> {
  return deps.db.transaction(async (tx) => {
    await lock(tx, target)
    await check(deps, tx, target.tenantId, document)
    const version = await store(tx, target.tenantId, document, change)
    await recordAudit(tx, {
      tenantId: target.tenantId,
      action: 'config.stored',
      object: `config:${version}`,
      ...change,
    })
    return configVersion(tx, target.tenantId, version)
  })
}

/**
 * Moves the pointer to a stored version; activating an older one is the rollback. The version is checked
 * again, because secret refs may have gone since. Errors: `not_found`, `config_invalid`, `version_mismatch`.
 */
export function activateConfig(
  deps: ConfigDeps,
  target: Target,
  version: number,
  change: Change,
): Promise<StoredVersion> {
  return deps.db.transaction(async (tx) => {
    const active = await lock(tx, target)
    const { document } = await configVersion(tx, target.tenantId, version)
    if (active?.version !== version) {
      await check(deps, tx, target.tenantId, document)
      await activate(
        tx,
        target.tenantId,
        version,
        active,
        document,
        change,
        'config.activated',
        `config:${version}`,
      )
    }
    return configVersion(tx, target.tenantId, version)
  })
}

/**
 * Makes a new version from the active one and activates it: what every write to policies or connectors does.
 * An edit that changes nothing gives the active version back. `object` names what was edited for the audit log.
 * Errors: `config_invalid`, `version_mismatch`, and what `edit` throws.
 */
export function editConfig(
  deps: ConfigDeps,
  target: Target,
  object: string,
  edit: (document: ConfigDocument) => ConfigDocument,
  change: Change,
): Promise<StoredVersion> {
  return deps.db.transaction(async (tx) => {
    const active = await lock(tx, target)
    const document = edit(active?.document ?? EMPTY_DOCUMENT)
    if (active && differences(active.document, document).length === 0) return active
    await check(deps, tx, target.tenantId, document)
    const version = await store(tx, target.tenantId, document, change)
    await activate(tx, target.tenantId, version, active, document, change, 'config.changed', object)
    return configVersion(tx, target.tenantId, version)
  })
}

/** What changed between two versions. Errors: `not_found`. */
export async function diffVersions(
  on: Queryable,
  tenantId: string,
  from: number,
  to: number,
): Promise<Difference[]> {
  const [before, after] = [await configVersion(on, tenantId, from), await configVersion(on, tenantId, to)]
  return differences(before.document, after.document)
}

async function lock(tx: Tx, { tenantId, ifMatch }: Target): Promise<StoredVersion | undefined> {
  if (!(await lockWorkspace(tx, { id: tenantId })))
    throw new Problem('not_found', 'There is no such workspace.')
  const active = await activeVersion(tx, tenantId)
  if (ifMatch !== undefined && ifMatch !== (active?.version ?? 0))
    throw new Problem('version_mismatch', `The active version is ${active?.version ?? 0}, not ${ifMatch}.`, {
      members: { active_version: active?.version ?? 0 },
    })
  return active
}

async function check(deps: ConfigDeps, tx: Tx, tenantId: string, document: ConfigDocument): Promise<void> {
  const details = checkDocument(document, {
    secretNames: await deps.secretNames(tx, tenantId),
    ...(deps.refusal && { refusal: deps.refusal }),
  })
  const first = details[0]
  if (first) throw new Problem('config_invalid', `${first.path} ${first.message}.`, { details })
}

async function store(tx: Tx, tenantId: string, document: ConfigDocument, change: Change): Promise<number> {
  const text = canonicalJson(document)
  const { version } = await insertVersion(tx, {
    tenantId,
    document: text,
    sha256: createHash('sha256').update(text).digest(),
    author: change.actor,
    reason: change.reason,
  })
  return version
}

async function activate(
  tx: Tx,
  tenantId: string,
  version: number,
  before: StoredVersion | undefined,
  document: ConfigDocument,
  change: Change,
  action: string,
  object: string,
): Promise<void> {
  await addLanes(tx, { tenantId, connectors: Object.keys(document.connectors) })
  await movePointer(tx, { tenantId, version, by: change.actor })
  const { requestId: request_id, correlationId: correlation_id, traceId: trace_id } = change.call
  await appendEvents(tx, {
    events: [
      {
        tenant_id: tenantId,
        type: 'config.activated',
        message: `Version ${version} is active (before: ${before?.version ?? 'none'}): ${change.reason}`,
        request_id,
        correlation_id,
        trace_id,
        data: { version, previous_version: before?.version ?? null, author: change.actor },
      },
    ],
  })
  await notify(tx, { channel: CONFIG_CHANNEL, payload: tenantId })
  // Last: changes of the workspace queue up at the audit chain from here to the commit.
  const diff = differences(before?.document ?? EMPTY_DOCUMENT, document)
  await recordAudit(tx, { tenantId, action, object, diff, ...change })
}
