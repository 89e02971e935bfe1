/** The audit log as an auditor has it: the commands, against a hub that runs and against a database that was changed. */
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type AuditLog, auditLog } from '../server/testing/audit-log.ts'
import { type TestDatabase, testDatabase } from '../server/testing/database.ts'
import { type Ending, type HubHome, hubHome, runCli, startHub } from './hub-process.ts'

describe('`orchestrator audit` with the embedded database, through the running hub', () => {
  let home: HubHome
  beforeAll(async () => {
    home = await hubHome()
    await startHub(home)
  })
  afterAll(() => home.remove())

  test('verifies all chains and one, by checkpoints that the hub has written by itself', async () => {
    await vi.waitFor(
      async () => {
        const all = await runCli(home, 'audit', 'verify')
        expect(all.stderr).toBe('')
        expect(all).toMatchObject({ code: 0 })
        expect(all.stdout).toMatch(/^ok {4}buildos-dev: \d+ entries, [1-9]\d* checkpoints agree$/m)
        expect(all.stdout).toMatch(/all intact/)
      },
      { timeout: 20_000, interval: 200 },
    )
    const one = await runCli(home, 'audit', 'verify', '--workspace', 'buildos-dev')
    expect(one).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^ok {4}buildos-dev: .*\n\n1 chain, all intact/),
    })
  })

  test('writes a log to standard output', async () => {
    const json = await runCli(home, 'audit', 'export', '--workspace', 'buildos-dev')
    expect(JSON.parse(json.stdout.split('\n')[0] ?? '')).toMatchObject({
      seq: 1,
      action: 'workspace.created',
    })
    const csv = await runCli(home, 'audit', 'export', '--workspace', 'buildos-dev', '--format', 'csv')
    expect(csv.stdout).toMatch(/^seq,at,actor,/)
    expect(await runCli(home, 'audit', 'export', '--platform')).toMatchObject({ code: 0 })
  })

  test.each<[string, string[], RegExp]>([
    ['no workspace of that name', ['verify', '--workspace', 'nobody-dev'], /has no workspace nobody-dev/],
    ['no log named', ['export'], /--workspace SLUG, or --platform/],
    ['a time that is none', ['export', '--platform', '--from', 'yesterday'], /validation_error/],
    ['a file of checkpoints', ['verify', '--checkpoints', 'x'], /needs DATABASE_URL/],
    ['nothing to do', [], /Usage/],
  ])('refuses %s', async (_name, args, message) => {
    const { code, stderr } = await runCli(home, 'audit', ...args)
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)])
  })
})

describe('`orchestrator audit verify` on a database', () => {
  let database: TestDatabase
  let log: AuditLog
  let home: HubHome
  beforeAll(async () => {
    database = await testDatabase()
    log = await auditLog(database)
    home = await hubHome({
      DATABASE_URL: database.url,
      KEYS_DIR: log.folder,
      AUDIT_CHECKPOINT_DIR: join(log.folder, 'audit'),
    })
  })
  afterAll(async () => {
    await home.remove()
    await log.close()
    await database.drop()
  })
  const verify = (...args: string[]): Promise<Ending> => runCli(home, 'audit', 'verify', ...args)

  test('names workspace, number and reason of the first bad entry, and ends with 1', async () => {
    const cut = await log.chainOf(4)
    const edited = await log.chainOf(3)
    await log.checkpoint()
    expect(await verify()).toMatchObject({ code: 0, stdout: expect.stringContaining('2 chains, all intact') })
    await log.damage(
      cut,
      'delete from audit_entry where tenant_id = $1 and seq > 2',
      `update audit_head set seq = 2, hash = (select hash from audit_entry where tenant_id = $1 and seq = 2)
       where tenant_id = $1`,
      'delete from audit_checkpoint where tenant_id = $1',
    )
    await log.damage(edited, `update audit_entry set actor = 'somebody' where tenant_id = $1 and seq = 2`)
    const { code, stdout } = await verify()
    expect(code).toBe(1)
    expect(stdout).toContain(`FAIL  ${cut} (no such workspace): entry 3: the entry is missing`)
    expect(stdout).toContain(
      `FAIL  ${edited} (no such workspace): entry 2: its content is not what was written`,
    )
    expect(stdout).toContain('2 chains, 2 not intact')
  })

  test('takes checkpoints that were kept elsewhere, and does without none silently', async () => {
    const kept = join(tmpdir(), `kept-${process.pid}.ndjson`)
    await writeFile(kept, 'torn')
    expect((await verify('--checkpoints', kept)).stdout).toContain('1 lines are no checkpoints')
    await rm(kept)
    expect(await verify('--checkpoints', kept)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(kept),
    })
    const keyless = await runCli(home.with({ KEYS_DIR: home.dataDir }), 'audit', 'verify')
    expect(keyless).toMatchObject({ code: 1, stderr: expect.stringContaining('audit.json') })
  })
})
