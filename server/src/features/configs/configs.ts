/**
 * The door of the configs feature (DESIGN D1). A workspace's config is one immutable document; the pointer says
 * which version is active.
 *
 * Invariants. A version never changes (a trigger refuses it) and numbers rise by one. Changes of one workspace
 * run one after the other. A version, its lanes and caps, the pointer, the audit entry and the event commit together.
 * What becomes active has been checked against everything else the workspace has.
 */
import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Db } from '../../platform/db/db.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import { CONFIG_CHANNEL } from './active-configs.ts'
import { applyCaps } from './caps.ts'
import { checkDocument, type Delivery } from './check-document.ts'
import { addLanes, insertVersion, movePointer } from './configs.sql.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { differences } from './document-diff.ts'
import { type ActiveConfig, loadActiveConfig } from './load-config.ts'
import { activeVersion, configVersion, type StoredVersion } from './versions.ts'

export { type ActiveConfigs, createActiveConfigs } from './active-configs.ts'
export type { Delivery } from './check-document.ts'
export { etagOf, IfMatchHeaders, targetOf } from './configs.schema.ts'
export { ConfigDocument, DEFAULT_POLICY } from './document.ts'
export { withFaultPlaces } from './fault-places.ts'
export { connectorLanes } from './lanes.ts'
export { type ActiveConfig, type ActiveConnector, loadActiveConfig } from './load-config.ts'
export { memberOf, pageOfMembers, withMember, withoutMember } from './members.ts'
export {
  activeDocument,
  activeVersion,
  configVersion,
  diffVersions,
  listConfigVersions,
  readActive,
  type StoredVersion,
  type VersionSummary,
} from './versions.ts'

export interface ConfigDeps {
  readonly db: Db
  /** Names of the workspace's secret refs, read in the transaction of the change. */
  readonly secretNames: (on: Queryable, tenantId: string) => Promise<ReadonlySet<string>>
  /** Who delivers to which callback connector, read in the transaction of the change. */
  readonly deliveries: (on: Queryable, tenantId: string) => Promise<readonly Delivery[]>
  /** Says why an address can never be dialled, so that it is refused when it is saved. */
  readonly refusal?: Dial['refusal']
}

export interface Target {
  readonly tenantId: string
  /** The active version that the caller saw; undefined = whatever is active. */
  readonly ifMatch?: number | undefined
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
      const object = `config:${version}`
      await activate(
        tx,
        target,
        { version, document, before: active, action: 'config.activated', object },
        change,
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
    await activate(
      tx,
      target,
      { version, document, before: active, action: 'config.changed', object },
      change,
    )
    return configVersion(tx, target.tenantId, version)
  })
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

/**
 * The config that an edit of the active one would give, callable but not stored: for questions like "what if".
 * Errors: `config_invalid`, and what `edit` throws.
 */
export const draftConfig = (
  deps: ConfigDeps,
  tenantId: string,
  edit: (document: ConfigDocument) => ConfigDocument,
): Promise<ActiveConfig> =>
  loadActiveConfig(deps.db, tenantId, async (active) => {
    const document = edit(active)
    await check(deps, deps.db, tenantId, document)
    return document
  })

async function check(
  deps: ConfigDeps,
  on: Queryable,
  tenantId: string,
  document: ConfigDocument,
): Promise<void> {
  const details = checkDocument(document, {
    secretNames: await deps.secretNames(on, tenantId),
    deliveries: await deps.deliveries(on, tenantId),
    refusal: deps.refusal,
  })
  const first = details[0]
  if (first)
    throw new Problem('config_invalid', `${first.path} ${first.message.replace(/\.$/, '')}.`, { details })
}

async function store(tx: Tx, tenantId: string, document: ConfigDocument, change: Change): Promise<number> {
  const text = canonicalJson(document)
  const { version } = await insertVersion(tx, {
    tenantId,
    document: text,
    sha256: createHash('sha256').update(text).digest(),
    author: nameOf(change),
    reason: change.reason,
  })
  return version
}

interface Activation {
  readonly version: number
  readonly document: ConfigDocument
  readonly before: StoredVersion | undefined
  /** As the audit log tells it. */
  readonly action: string
  readonly object: string
}

async function activate(
  tx: Tx,
  { tenantId }: Target,
  { version, document, before, action, object }: Activation,
  change: Change,
): Promise<void> {
  await addLanes(tx, { tenantId, connectors: Object.keys(document.connectors) })
  await applyCaps(tx, tenantId, document)
  await movePointer(tx, { tenantId, version, by: nameOf(change) })
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
        data: { version, previous_version: before?.version ?? null, author: nameOf(change) },
      },
    ],
  })
  await notify(tx, { channel: CONFIG_CHANNEL, payload: tenantId })
  // Last: changes of the workspace queue up at the audit chain from here to the commit.
  const diff = differences(before?.document ?? EMPTY_DOCUMENT, document)
  await recordAudit(tx, { tenantId, action, object, diff, ...change })
}
