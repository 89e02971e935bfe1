import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { checkDocument, type Delivery } from './check-document.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { memberOf } from './members.ts'

export interface ConfigDeps {
  readonly db: Db
  /** Names of the workspace's secret refs, read in the transaction of the change. */
  readonly secretNames: (on: Queryable, tenantId: string) => Promise<ReadonlySet<string>>
  /** Who delivers to which callback connector, read in the transaction of the change. */
  readonly deliveries: (on: Queryable, tenantId: string) => Promise<readonly Delivery[]>
  /** Says why an address can never be dialled, so that it is refused when it is saved. */
  readonly refusal?: Dial['refusal']
  /** The most bytes that a document may have as JSON; absent = any number. */
  readonly maxBytes?: number
  /**
   * Of these secret refs the ones that do not resolve, and why; never their values, and within a time limit. Absent
   * where nobody can say, e.g. before anything is activated.
   */
  readonly unresolved?: Unresolved
}

export type Unresolved = (tenantId: string, names: readonly string[]) => Promise<ReadonlyMap<string, string>>

/** Every fault of a document in its workspace, as far as the database knows. */
export async function faultsOf(
  deps: ConfigDeps,
  on: Queryable,
  tenantId: string,
  document: ConfigDocument,
): Promise<ProblemDetail[]> {
  return checkDocument(document, {
    secretNames: await deps.secretNames(on, tenantId),
    deliveries: await deps.deliveries(on, tenantId),
    refusal: deps.refusal,
    maxBytes: deps.maxBytes,
  })
}

/**
 * Secret refs of the document that do not resolve, where they stand. `besides` leaves out connectors that stand
 * there just so: an edit is not held up by what it does not touch. Asks stores over the network: never call it while holding a lock.
 */
export async function secretFaultsOf(
  deps: ConfigDeps,
  tenantId: string,
  document: ConfigDocument,
  besides: ConfigDocument = EMPTY_DOCUMENT,
): Promise<ProblemDetail[]> {
  const uses = Object.entries(document.connectors).flatMap(([connector, config]) => {
    const same = memberOf(besides, 'connectors', connector)
    if (same && canonicalJson(same) === canonicalJson(config)) return []
    return Object.entries(config.secrets ?? {}).map(([secret, ref]) => ({
      path: `/connectors/${connector}/secrets/${pointerPart(secret)}`,
      ref,
    }))
  })
  if (!deps.unresolved || uses.length === 0) return []
  const known = await deps.secretNames(deps.db, tenantId)
  const names = [...new Set(uses.map(({ ref }) => ref))].filter((name) => known.has(name))
  const why = await deps.unresolved(tenantId, names)
  return uses.flatMap(({ path, ref }) => {
    const reason = why.get(ref)
    return reason === undefined
      ? []
      : [{ path, message: `the secret ref ${ref} does not resolve: ${reason}` }]
  })
}

/** Errors: `config_invalid` with every fault. */
export function refuseFaults(details: readonly ProblemDetail[]): void {
  const first = details[0]
  if (first)
    throw new Problem('config_invalid', `${first.path} ${first.message.replace(/\.$/, '')}.`, { details })
}
