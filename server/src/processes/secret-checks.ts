import type { BundleSecrets } from '../features/bundles/bundles.ts'
import type { Unresolved } from '../features/configs/configs.ts'
import { getSecretRef, type ReadRef } from '../features/secrets/secrets.ts'
import type { WorkspaceDirectory } from '../features/workspaces/workspaces.ts'
import type { Clock } from '../platform/clock.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { secretFingerprint } from '../platform/secret.ts'
import { Problem } from '../problems.ts'

/** A store that is away must not hold an operator up for long. */
const LIMIT_MS = 3_000
const AT_ONCE = 16

export interface SecretChecks {
  /** Of refs that are stored. */
  readonly ofNames: Unresolved
  /** Of refs that a bundle would store. */
  readonly ofRefs: BundleSecrets['unresolved']
  /** Fingerprints of all values in force behind stored refs, by name, without those that cannot be read. */
  readonly fingerprints: (
    tenantId: string,
    names: readonly string[],
  ) => Promise<ReadonlyMap<string, readonly string[]>>
}

/**
 * Which secret refs do not resolve in this process, and why; never their values. Reads the stores themselves: a check
 * is no use of a secret, and what memory holds says nothing about now.
 */
export function createSecretChecks({
  db,
  directory,
  readRef,
  clock,
}: {
  readonly db: Queryable
  readonly directory: Pick<WorkspaceDirectory, 'find'>
  readonly readRef: ReadRef
  readonly clock: Pick<Clock, 'after'>
}): SecretChecks {
  const read = async (
    tenantId: string,
    refs: Parameters<SecretChecks['ofRefs']>[1],
    hear: (name: string, found: Read) => void,
  ): Promise<void> => {
    const owner = await directory.find(tenantId)
    if (!owner) throw new Problem('not_found', 'There is no such workspace.')
    const waiting = [...refs]
    const next = async (): Promise<void> => {
      for (let each = waiting.shift(); each !== undefined; each = waiting.shift())
        hear(each.name, await inTime(clock, readRef(owner, each.ref)))
    }
    await Promise.all(Array.from({ length: AT_ONCE }, next))
  }
  const stored = async (tenantId: string, names: readonly string[]) => {
    const refs = await Promise.all(
      names.map((name) => getSecretRef(db, { tenantId, name }).catch(goneMeanwhile)),
    )
    return refs.filter((ref) => ref !== undefined)
  }
  const ofRefs: SecretChecks['ofRefs'] = async (tenantId, refs) => {
    const why = new Map<string, string>()
    await read(tenantId, refs, (name, found) => {
      if ('why' in found) why.set(name, found.why)
    })
    return why
  }
  return {
    ofRefs,
    ofNames: async (tenantId, names) => ofRefs(tenantId, await stored(tenantId, names)),
    fingerprints: async (tenantId, names) => {
      const prints = new Map<string, readonly string[]>()
      await read(tenantId, await stored(tenantId, names), (name, found) => {
        if (!('why' in found)) prints.set(name, found.map(secretFingerprint))
      })
      return prints
    },
  }
}

/** Deleted since its name was read: whoever decides under the lock will miss it and say where. */
function goneMeanwhile(error: unknown): undefined {
  if (!(error instanceof Problem) || error.code !== 'not_found') throw error
}

type Read = Awaited<ReturnType<ReadRef>>

function inTime(clock: Pick<Clock, 'after'>, work: Promise<Read>): Promise<Read> {
  return new Promise((resolve, reject) => {
    const why = `its store did not answer within ${LIMIT_MS / 1_000} s`
    const stop = clock.after(LIMIT_MS, () => resolve({ why }))
    work.then(resolve, reject).finally(stop)
  })
}
