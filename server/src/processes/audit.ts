/** What proves the audit log: its keys and the file of its checkpoints. Wiring only. */
import { join } from 'node:path'
import type { Config } from '../config.ts'
import {
  type CheckpointWork,
  checkpointFile,
  createCheckpointWork,
  type Evidence,
  readCheckpoints,
} from '../features/audit/audit.ts'
import { type Environment, listWorkspaces, NO_WORKSPACE } from '../features/workspaces/workspaces.ts'
import { type Keys, openKeys } from '../platform/auth/keys.ts'
import { type Clock, systemClock } from '../platform/clock.ts'
import { createDb, type Db } from '../platform/db/db.ts'
import { holdSessionLock } from '../platform/db/session-lock.ts'
import { createLog, type Log } from '../platform/log.ts'
import { createMetrics } from '../platform/metrics.ts'
import type { Platform } from '../platform/platform.ts'
import { fileVersion } from '../platform/private-file.ts'
import { StartRefused } from '../platform/start-refused.ts'
import type { Environment as ProcessEnvironment } from './runtime.ts'

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
  { config, databaseUrl }: ProcessEnvironment,
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

/** The audit log on the database itself, for who need not trust a running hub. */
export interface AuditLog {
  readonly evidence: Evidence
  /** How many lines of the file are no checkpoints. */
  readonly unreadable: number
  readonly db: Db
  /** Slugs of all workspaces by their ids. */
  readonly slugs: ReadonlyMap<string, string>
  close(): Promise<void>
}

/**
 * Opens the database, the keys and the checkpoints: those of this hub's file, or of the one that is named. Throws
 * StartRefused without a key file: a fresh key could not check what another one has signed.
 */
export async function openAuditLog(
  config: Config,
  databaseUrl: string,
  namedFile: string | undefined,
): Promise<AuditLog> {
  const log = createLog('audit', 'warn')
  if ((await fileVersion(join(config.keysDir, 'audit.json'))) === undefined)
    throw new StartRefused(
      `KEYS_DIR (${config.keysDir}) has no audit.json, so that signatures of checkpoints cannot be checked. Say with KEYS_DIR where the keys of this hub are; the first start of control makes them.`,
    )
  const file = namedFile ?? checkpointFile(config.auditCheckpointDir)
  const evidence = { file, fileMustExist: namedFile !== undefined }
  const { unreadable } = await readCheckpoints(file, { mustExist: evidence.fileMustExist })
  const keys = await openAuditKeys(config, { clock: systemClock, log })
  const metrics = createMetrics('audit', false)
  const db = createDb({
    ...{ url: databaseUrl, applicationName: 'orchestrator audit', poolSize: 1 },
    ...{ slowQueryMs: config.slowQueryMs, log, metrics },
  })
  const close = async (): Promise<void> => {
    keys.close()
    await db.close()
  }
  try {
    return {
      ...{ db, unreadable, close },
      evidence: { ...evidence, keys },
      slugs: await slugsOf(db, config.environment),
    }
  } catch (error) {
    await close()
    throw error
  }
}

const PAGE = 500

async function slugsOf(db: Db, environment: Environment): Promise<Map<string, string>> {
  const slugs = new Map<string, string>([[NO_WORKSPACE, 'the platform']])
  let beforeId: string | undefined
  do {
    const page = await listWorkspaces(db, { status: 'any', environment, onlyId: null, beforeId, limit: PAGE })
    for (const { id, slug } of page) slugs.set(id, slug)
    beforeId = page.length < PAGE ? undefined : page.at(-1)?.id
  } while (beforeId !== undefined)
  return slugs
}
