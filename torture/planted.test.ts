/**
 * The checker finds what it is for: bugs are planted from outside into real processes (nothing of them is in the
 * product), and the run must not be sound. All three are in one run, because each shows in a fault of its own that the
 * other two cannot cause; `short.test.ts` plays the same scenes without them and sees none of these faults.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { check, type Fault, type Verdict } from './checker.ts'
import { countBeforeLock } from './planted/count-before-lock.ts'
import { reportOf } from './report.ts'
import { comeBackLate, killBeforeCommit, until } from './scenes.ts'
import { type Scene, torture } from './torture.ts'

const planted = (name: string): string => join(import.meta.dirname, 'planted', `${name}.ts`)

let folder = ''
let verdict: Verdict
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-planted-'))
  verdict = check(
    await torture({
      ...{
        seed: 1,
        seconds: 1,
        folder,
        execs: 1,
        workers: 2,
        hurried: true,
        drainSeconds: 0,
        ratePerSecond: 40,
      },
      workMs: { usual: [300, 600], long: [300, 600] },
      preload: { exec: planted('acknowledge-early'), worker: planted('settle-any-lease') },
      prepare: countBeforeLock,
      play: async (scene) => {
        await untilCapIsExceeded(scene)
        await loseAcknowledged(scene)
        await endLeaseOfAnother(scene)
      },
    }),
  )
}, 300_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

const said = (fault: Fault): string => verdict.faults[fault].join('\n')

test('a job that is acknowledged before its commit is lost when the process dies', () => {
  expect(said('lost'), reportOf(verdict)).toContain('no such job')
})

test('a settlement that does not name its lease ends the lease of another worker', () => {
  expect(said('stranger'), reportOf(verdict)).toContain('ended as done before any request of its own')
})

test('a cap that is counted before the lock is exceeded by two workers at once', () => {
  expect(said('over_cap'), reportOf(verdict)).toContain('leases at once')
})

test('a run with any of these faults is not sound', () => {
  expect(verdict.sound).toBe(false)
})

/** Both workers claim as often as jobs arrive; sooner or later they do so at once while a cap is nearly reached. */
const untilCapIsExceeded = ({ database, load }: Scene): Promise<void> =>
  until('a workspace has more leases than its cap', async () => {
    const [over] = await database.query(
      `select from job_run r join tenant_policy p using (tenant_id)
       group by tenant_id, p.max_running having count(*) > p.max_running`,
    )
    return over !== undefined && load.sends.length > 20
  })

/** What waits in the process for its turn is lost with it; three statements are on their way before anything waits. */
async function loseAcknowledged(scene: Scene): Promise<void> {
  const { load, database } = scene
  const acceptedSince = (before: number) =>
    load.sends.slice(before).flatMap(({ answer, jobId }) => (answer === 'accepted' && jobId ? [jobId] : []))
  await until('an acknowledged job is lost', async () => {
    const before = load.sends.length
    await killBeforeCommit(scene, 'exec-1', () => acceptedSince(before).length > 10)
    const promised = acceptedSince(before)
    const stored = await database.query('select from job where id = any ($1::uuid[])', [promised])
    return stored.length < promised.length
  })
}

/** The one who comes back late must find the other at work: with bad luck it had just finished. */
async function endLeaseOfAnother(scene: Scene): Promise<void> {
  await until('a lease is ended by a stranger', async () => {
    const { jobId, send, lease } = await comeBackLate(scene, async (paused) => {
      const other = [...scene.processes.keys()].find((name) => name.startsWith('worker') && name !== paused)
      // Who starts looks for the dead at once.
      await scene.chaos.act({ at: 0, kind: 'kill', process: other ?? '', backAfterMs: 0 })
    })
    let ended: { at: number } | undefined
    await until(`${send} is done`, async () => {
      const rows = await scene.database.query<{ at: number }>(
        `select (extract(epoch from ended_at) * 1000)::float8 as at from job_attempt
         where job_id = $1 and lease_id > $2 and outcome = 'done'`,
        [jobId, lease],
      )
      ended = rows[0]
      return ended !== undefined
    })
    const requests = (await scene.requests()).filter(({ about }) => about === send)
    const own = requests.at(-1)
    return requests.length > 1 && (own?.end ?? Infinity) > (ended?.at ?? Infinity)
  })
}
