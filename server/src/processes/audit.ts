/** What proves the audit log: its keys and the file of its checkpoints. Wiring only. */
import type { Config } from '../config.ts'
import {
  type CheckpointWork,
  checkpointFile,
  createCheckpointWork,
  type Evidence,
} from '../features/audit/audit.ts'
import { type Keys, openKeys } from '../platform/auth/keys.ts'
import type { Clock } from '../platform/clock.ts'
import { holdSessionLock } from '../platform/db/session-lock.ts'
import type { Log } from '../platform/log.ts'
import type { Platform } from '../platform/platform.ts'
import type { Environment } from './runtime.ts'

/** Held by the one process that writes checkpoints. */
const LOCK_KEY = [7102, 2] as const
/** A hundred years: a key that has signed checkpoints proves them for as long as they are kept. */
const FOR_EVER_SECONDS = 100 * 365 * 86_400

/** The keys that sign checkpoints and nothing else. Rotation leaves the former ones for verification. */
export const openAuditKeys = (
  { keysDir }: Config,
  on: { readonly clock: Clock; readonly log: Log },
): Promise<Keys> => openKeys({ folder: keysDir, name: 'audit', maxTokenAgeSeconds: FOR_EVER_SECONDS, ...on })

export interface AuditProof {
  readonly evidence: Evidence
  readonly checkpoints: CheckpointWork
  close(): void
}

export async function openAuditProof(
  { config, databaseUrl }: Environment,
  platform: Platform,
): Promise<AuditProof> {
  const { db, clock, log } = platform
  const keys = await openAuditKeys(config, platform)
  const file = checkpointFile(config.auditCheckpointDir)
  const takeLock = () =>
    holdSessionLock({
      url: databaseUrl,
      applicationName: 'orchestrator control checkpoints',
      key: LOCK_KEY,
      mode: 'alone',
      meaning: 'another process writes the checkpoints of the audit log',
      ...{ log, clock },
    })
  return {
    evidence: { keys, file },
    checkpoints: createCheckpointWork({ db, keys, file, log, clock, takeLock }),
    close: () => keys.close(),
  }
}
