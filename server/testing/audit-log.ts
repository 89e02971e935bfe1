import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  checkpointFile,
  type Evidence,
  type NewAuditEntry,
  recordAudit,
} from '../src/features/audit/audit.ts'
import { createCheckpointRound } from '../src/features/audit/checkpoints.ts'
import { type Keys, openKeys } from '../src/platform/auth/keys.ts'
import { newId } from '../src/platform/ids.ts'
import { capturedLog } from './captured-log.ts'
import type { TestDatabase } from './database.ts'
import { asSuperuser } from './superuser.ts'
import { CHANGE } from './tenant-access.ts'

export interface AuditLog {
  /** Where its keys are; the file of checkpoints is in the folder `audit` below. */
  readonly folder: string
  /** What chains are held against: keys and a file of checkpoints of their own. */
  readonly evidence: Evidence & { readonly keys: Keys }
  record(tenantId: string, entry?: Partial<NewAuditEntry>): Promise<void>
  /** Id of a workspace with so many entries, `thing:1`, `thing:2`, … */
  chainOf(length: number): Promise<string>
  /** Signs what is due: the head of every chain without a checkpoint. */
  checkpoint(): Promise<void>
  /** Signs the heads also of chains that have a checkpoint and little new. */
  checkpointAgain(): Promise<void>
  /** Lines of the log of the checkpoints. */
  lines(): Record<string, unknown>[]
  /** What somebody does who has all rights on the database; `$1` is the workspace. */
  damage(tenantId: string, ...statements: string[]): Promise<void>
  close(): Promise<void>
}

export async function auditLog({ db, url, platform }: TestDatabase): Promise<AuditLog> {
  const { clock } = platform
  const { log, lines } = capturedLog()
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-audit-'))
  const keys = await openKeys({ folder, name: 'audit', maxTokenAgeSeconds: 3_600, clock, log })
  const evidence = { keys, file: checkpointFile(join(folder, 'audit')) }
  const record: AuditLog['record'] = (tenantId, entry = {}) =>
    db.transaction((tx) =>
      recordAudit(tx, { ...CHANGE, tenantId, action: 'thing.changed', object: 'thing:1', ...entry }),
    )
  const checkpoint = createCheckpointRound({ db, log, clock, ...evidence })
  return {
    folder,
    evidence,
    record,
    chainOf: async (length) => {
      const tenantId = newId()
      for (let n = 1; n <= length; n += 1)
        await record(tenantId, { object: `thing:${n}`, diff: [{ path: '/n', after: n }] })
      return tenantId
    },
    checkpoint,
    checkpointAgain: createCheckpointRound({ db, log, clock, ...evidence, everySeconds: 0 }),
    lines: () => lines() as Record<string, unknown>[],
    damage: (tenantId, ...statements) =>
      asSuperuser(
        url,
        statements.map((text) => [text, text.includes('$1') ? [tenantId] : []] as const),
      ),
    close: async () => {
      keys.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
