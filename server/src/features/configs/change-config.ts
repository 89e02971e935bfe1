import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { lockWorkspace, requireRoom } from '../workspaces/workspaces.ts'
import { CONFIG_CHANNEL } from './active-configs.ts'
import { applyCaps } from './caps.ts'
import { type ConfigDeps, faultsOf, refuseFaults, secretFaultsOf } from './check-config.ts'
import { addLanes, insertVersion, movePointer } from './configs.sql.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { differences } from './document-diff.ts'
import type { Target } from './if-match.ts'
import { type ActiveConfig, loadActiveConfig } from './load-config.ts'
import { requireAnyPrecondition, requireNoReplacement, requireSeen } from './precondition.ts'
import { reservedFaults } from './reserved-members.ts'
import { activeDocument, activeVersion, configVersion, type StoredVersion } from './versions.ts'

/** Stores a whole document without activating it. Errors: `config_invalid` with every fault. */
export function storeConfig(
  deps: ConfigDeps,
  target: Target,
  document: ConfigDocument,
  change: Change,
): Promise<StoredVersion> {
  return deps.db.transaction(async (tx) => {
    const active = await lock(tx, target)
    refuseFaults([
      ...reservedFaults(active?.document, document, change.actor),
      ...(await faultsOf(deps, tx, target.tenantId, document)),
    ])
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

/** How a pointer is moved, as the audit log tells it. */
export type Move = 'config.activated' | 'config.rolled_back'

/**
 * Moves the pointer to a stored version. The version is checked again, with its secrets, because secret refs and
 * routes may have changed since, and whether the quota has room for its connectors: what has no more of them than
 * the active version always has. Errors: `not_found`, `config_invalid`, `quota_exceeded`, `version_mismatch`,
 * `precondition_required`.
 */
export async function activateConfig(
  deps: ConfigDeps,
  target: Target,
  version: number,
  change: Change,
  action: Move = 'config.activated',
): Promise<StoredVersion> {
  const { tenantId } = target
  const { document, active: isActive } = await configVersion(deps.db, tenantId, version)
  const secretFaults = isActive ? [] : await secretFaultsOf(deps, tenantId, document)
  return deps.db.transaction(async (tx) => {
    const active = await lock(tx, target)
    if (active?.version !== version) {
      await requireConnectorRoom(tx, tenantId, document)
      refuseFaults([
        ...reservedFaults(active?.document, document, change.actor),
        ...(await faultsOf(deps, tx, tenantId, document)),
        ...secretFaults,
      ])
      if (action === 'config.activated') requireAnyPrecondition(target, active, document)
      const object = `config:${version}`
      await activate(tx, target, { version, document, before: active, action, object }, change)
    }
    return configVersion(tx, tenantId, version)
  })
}

/**
 * Makes a new version from the active one and activates it: what every write to policies or connectors does.
 * An edit that changes nothing gives the active version back. `object` names what was edited for the audit log.
 * Errors: `config_invalid`, `version_mismatch`, `precondition_required`, and what `edit` throws.
 */
export async function editConfig(
  deps: ConfigDeps,
  target: Target,
  object: string,
  edit: (document: ConfigDocument) => ConfigDocument,
  change: Change,
): Promise<StoredVersion> {
  const { tenantId } = target
  const secretFaults = deps.unresolved ? await secretFaultsOfEdit(deps, tenantId, edit) : []
  return deps.db.transaction(async (tx) => {
    const active = await lock(tx, target)
    const document = edit(active?.document ?? EMPTY_DOCUMENT)
    if (active && differences(active.document, document).length === 0) return active
    refuseFaults([
      ...reservedFaults(active?.document, document, change.actor),
      ...(await faultsOf(deps, tx, tenantId, document)),
      ...secretFaults,
    ])
    requireNoReplacement(target, active, document)
    const version = await store(tx, tenantId, document, change)
    const activation = { version, document, before: active, action: 'config.changed', object } as const
    await activate(tx, target, activation, change)
    return configVersion(tx, tenantId, version)
  })
}

/** Before the lock is taken; an edit that the active config does not allow is refused under the lock. */
async function secretFaultsOfEdit(
  deps: ConfigDeps,
  tenantId: string,
  edit: (document: ConfigDocument) => ConfigDocument,
): Promise<ProblemDetail[]> {
  const before = await activeDocument(deps.db, tenantId)
  let after: ConfigDocument
  try {
    after = edit(before)
  } catch {
    // Told under the lock, where the same edit is made of what is active then.
    return []
  }
  return secretFaultsOf(deps, tenantId, after, before)
}

async function lock(tx: Tx, { tenantId, ifMatch }: Target): Promise<StoredVersion | undefined> {
  if (!(await lockWorkspace(tx, { id: tenantId })))
    throw new Problem('not_found', 'There is no such workspace.')
  const active = await activeVersion(tx, tenantId)
  await requireSeen(tx, { tenantId, ifMatch }, active)
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
    refuseFaults(await faultsOf(deps, deps.db, tenantId, document))
    return document
  })

/** Version 1 of a workspace that the same transaction makes, active from the beginning. */
export async function firstConfig(
  tx: Tx,
  tenantId: string,
  document: ConfigDocument,
  change: Change,
): Promise<void> {
  const version = await store(tx, tenantId, document, change)
  const object = `config:${version}`
  await activate(
    tx,
    { tenantId },
    { version, document, before: undefined, action: 'config.activated', object },
    change,
  )
}

/** Errors: `quota_exceeded`. */
async function store(tx: Tx, tenantId: string, document: ConfigDocument, change: Change): Promise<number> {
  await requireRoom(tx, { tenantId, quota: 'config_versions' })
  await requireConnectorRoom(tx, tenantId, document)
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

const requireConnectorRoom = (tx: Tx, tenantId: string, document: ConfigDocument): Promise<void> =>
  requireRoom(tx, { tenantId, quota: 'connectors', total: Object.keys(document.connectors).length })

/** In the diff of an audit entry: which version was active before and after. No part of a document has this name. */
export const VERSION_PATH = '/active_version'

interface Activation {
  readonly version: number
  readonly document: ConfigDocument
  readonly before: StoredVersion | undefined
  /** As the audit log tells it. */
  readonly action: Move | 'config.changed'
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
  const diff = [
    // The history of the pointer, which a rollback reads.
    { path: VERSION_PATH, before: before?.version ?? 0, after: version },
    ...differences(before?.document ?? EMPTY_DOCUMENT, document),
  ]
  await recordAudit(tx, { tenantId, action, object, diff, ...change })
}
