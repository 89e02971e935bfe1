import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest'
import { type AuditLog, auditLog } from '../../../testing/audit-log.ts'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { holdSessionLock } from '../../platform/db/session-lock.ts'
import { createCheckpointWork } from './checkpoints.ts'

const WAIT = { timeout: 15_000, interval: 50 }

let database: TestDatabase
let audit: AuditLog

beforeAll(async () => {
  database = await testDatabase()
  audit = await auditLog(database)
})
afterAll(async () => {
  await audit.close()
  await database.drop()
})

/** What a control process does, with a file of its own. */
function controlProcess(name: string, folder = audit.folder) {
  const { db, platform, url } = database
  const { log, lines } = capturedLog()
  const file = join(folder, `${name}.ndjson`)
  const { clock } = platform
  const takeLock = () =>
    holdSessionLock({ url, applicationName: name, key: [7102, 2], mode: 'alone', meaning: name, log, clock })
  const work = createCheckpointWork({ db, keys: audit.evidence.keys, file, log, clock, takeLock })
  onTestFinished(() => work.stop())
  return { ...work, file, lines }
}

it('is done by one process at a time, and another one goes on after it', async () => {
  const first = controlProcess('first')
  const second = controlProcess('second')
  const early = await audit.chainOf(1)
  first.start()
  await vi.waitFor(async () => expect(await readFile(first.file, 'utf8')).toContain(early), WAIT)
  second.start()
  const late = await audit.chainOf(1)
  expect(existsSync(second.file)).toBe(false)
  await first.stop()
  await vi.waitFor(async () => expect(await readFile(second.file, 'utf8')).toContain(late), WAIT)
  expect(await readFile(first.file, 'utf8')).not.toContain(late)
})

it('says once that it cannot write, and stores nothing that the file does not have', async () => {
  // A file stands where the folder would be.
  const { folder } = audit
  const stuck = controlProcess('stuck', join(folder, 'audit.json'))
  const tenantId = await audit.chainOf(1)
  stuck.start()
  await vi.waitFor(() => expect(stuck.lines().filter(({ level }) => level === 'error')).toHaveLength(1), WAIT)
  await stuck.stop()
  const stored = await database.db.execute(
    { name: '', text: 'select from audit_checkpoint where tenant_id = $1' },
    [tenantId],
  )
  expect(stored.rowCount).toBe(0)
})
