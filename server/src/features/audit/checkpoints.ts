/** Writes signed checkpoints: of every chain that has grown, each hour, and earlier after many entries. */
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { SessionLock } from '../../platform/db/session-lock.ts'
import type { Log } from '../../platform/log.ts'
import {
  type CheckpointRow,
  findHead,
  findLastCheckpoint,
  insertCheckpoint,
  listDueChains,
} from './audit.sql.ts'
import { GENESIS_HASH } from './chain.ts'
import { type CheckpointKeys, signatureFault, signCheckpoint } from './checkpoint.ts'
import { appendCheckpoints } from './checkpoint-file.ts'
import { walkChain } from './verify.ts'

const EVERY_SECONDS = 3_600
const EVERY_ENTRIES = 100
/** So long the hundredth entry of a busy chain may wait for its checkpoint. */
const LOOK_MS = 30_000
/** How often a process that does not have the lock asks whether it has it now. */
const ASK_MS = 1_000

export interface CheckpointDeps {
  readonly db: Db
  readonly keys: CheckpointKeys
  /** Where they are written besides the database. */
  readonly file: string
  readonly log: Log
  readonly clock: Clock
  /** How old the last checkpoint of a chain is that gets another one; an hour. */
  readonly everySeconds?: number
}

/**
 * One look at all chains. Signs nothing that it has not verified from the last checkpoint on: a chain that was changed is
 * told in the log, once by each process, and gets no new checkpoint.
 */
export function createCheckpointRound({
  db,
  keys,
  file,
  log,
  clock,
  everySeconds = EVERY_SECONDS,
}: CheckpointDeps): () => Promise<void> {
  const complainedOf = new Set<string>()

  const complain = (tenantId: string, seq: number, why: string): void => {
    if (complainedOf.has(tenantId)) return
    complainedOf.add(tenantId)
    log.error({ tenant_id: tenantId, seq, why }, 'the audit log was changed: run `orchestrator audit verify`')
  }

  const checkpoint = async (tenantId: string): Promise<void> => {
    const last = await findLastCheckpoint(db, { tenantId })
    const head = await findHead(db, { tenantId })
    if (!head) return
    const fault = last && (await signatureFault(keys, asCheckpoint(last)))
    if (last && fault) return complain(tenantId, last.seq, fault)
    if (last && head.seq < last.seq) return complain(tenantId, head.seq + 1, 'the entry is missing')
    const walked = await walkChain(db, tenantId, last ?? { seq: 0, hash: GENESIS_HASH }, head.seq)
    if (!Buffer.isBuffer(walked))
      return walked.intact ? undefined : complain(tenantId, walked.seq, walked.why)
    if (!walked.equals(head.hash)) return complain(tenantId, head.seq, 'the head names another entry')
    const signed = await signCheckpoint(keys, { tenantId, ...head, at: new Date(clock.now()) })
    // The file first: should the database not take it, the file holds one more that is true.
    await appendCheckpoints(file, [signed])
    await insertCheckpoint(db, { ...signed, tenant_id: tenantId })
    complainedOf.delete(tenantId)
  }

  return async () => {
    const due = await listDueChains(db, { entries: EVERY_ENTRIES, seconds: everySeconds })
    for (const { tenant_id } of due) await checkpoint(tenant_id)
  }
}

const asCheckpoint = ({ tenant_id, ...row }: CheckpointRow) => ({ tenantId: tenant_id, ...row })

export interface CheckpointWork {
  start(): void
  /** Ends after the round that runs. */
  stop(): Promise<void>
}

/** Looks again and again, in the one process that holds the lock; the lock is asked for at the start. */
export function createCheckpointWork(
  deps: CheckpointDeps & { readonly takeLock: () => Pick<SessionLock, 'held' | 'release'> },
): CheckpointWork {
  const { clock, log } = deps
  const round = createCheckpointRound(deps)
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()
  let failing = false

  const run = async (): Promise<void> => {
    const lock = deps.takeLock()
    while (!stopping.signal.aborted) {
      try {
        if (lock.held) await round()
        failing = false
      } catch (err) {
        if (!failing) log.error({ err }, 'no checkpoints of the audit log can be written')
        failing = true
      }
      await clock.sleep(lock.held ? LOOK_MS : ASK_MS, stopping.signal).catch(() => undefined)
    }
    await lock.release()
  }
  return {
    start: () => {
      running = run()
    },
    stop: async () => {
      stopping.abort()
      await running
    },
  }
}
