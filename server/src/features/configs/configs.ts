/**
 * The door of the configs feature (DESIGN D1). A workspace's config is one immutable document; the pointer says
 * which version is active.
 *
 * Invariants. A version never changes (a trigger refuses it) and numbers rise by one. Changes of one workspace
 * run one after the other. A version, its lanes and caps, the pointer, the audit entry and the event commit together.
 * What becomes active has been checked against everything else the workspace has.
 */
export { type ActiveConfigs, createActiveConfigs } from './active-configs.ts'
export { type Blast, type BlastDeps, blastRadius, type Traffic } from './blast-radius.ts'
export { activateConfig, draftConfig, editConfig, firstConfig, storeConfig } from './change-config.ts'
export type { ConfigDeps, Unresolved } from './check-config.ts'
export { checkDocument, type Delivery } from './check-document.ts'
export { ConfigDocument, DEFAULT_POLICY, EMPTY_DOCUMENT } from './document.ts'
export { type Difference, differences } from './document-diff.ts'
export { withFaultPlaces } from './fault-places.ts'
export { etagOf, IfMatchHeaders, type Target, targetOf } from './if-match.ts'
export { connectorLanes } from './lanes.ts'
export { type ActiveConfig, type ActiveConnector, loadActiveConfig } from './load-config.ts'
export { memberOf, pageOfMembers, withMember, withoutMember } from './members.ts'
export { quotaFaultsOf } from './quota-faults.ts'
export { productPart, reservedFaults, withHubPart } from './reserved-members.ts'
export { rollBackConfig } from './rollback.ts'
export { validateConfig } from './validate-config.ts'
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
