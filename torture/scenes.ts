/**
 * Short pieces of chaos that go exactly for one promise each; with a planted bug each of them must break it. They wait
 * for what they need to have happened, so that a slow machine only makes them longer.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Bait } from './load.ts'
import { databaseLink } from './schedule.ts'
import type { Scene } from './torture.ts'

const LOOK_MS = 50
/** Only a run that hangs waits for so long. */
const PATIENCE_MS = 60_000
/** How long a bait stays at the sink: to find it there, and to do something to its worker in the meantime. */
const BAIT_MS: readonly number[] = [2_000, 3_000, 4_500]

/** Looks until it holds; throws when it does not for a very long time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error(`waited for ${PATIENCE_MS / 1_000} s: ${what}`)
    await delay(LOOK_MS)
  }
}

/** An exec process is killed while it cannot reach the database: what it has said yes to must be stored. */
export async function killBeforeCommit(
  { chaos }: Scene,
  exec: string,
  enough: () => boolean | Promise<boolean>,
): Promise<void> {
  await chaos.hold('stall', databaseLink(exec), async () => {
    await until(`enough jobs are sent to ${exec} while it cannot store them`, enough)
    await chaos.act({ at: 0, kind: 'kill', process: exec, backAfterMs: 100 })
  })
}

/** A bait at the sink, and the worker that waits for its answer. */
interface Caught extends Bait {
  readonly lease: number
  readonly worker: string
}

/** Undefined when it was answered before one could look. */
async function catchWorker(scene: Scene, workMs: number): Promise<Caught | undefined> {
  const bait = await scene.load.bait(workMs)
  await until(`${bait.send} arrives at the sink`, async () =>
    (await scene.requests()).some(({ about }) => about === bait.send),
  )
  const [held] = await scene.database.query<{ lease: number; worker: string }>(
    `select r.lease_id::float8 as lease, n.host as worker from job_run r join node n using (node_id)
     where r.job_id = $1`,
    [bait.jobId],
  )
  return held && { ...bait, ...held }
}

const isAnswered = async ({ requests }: Scene, { send }: Bait): Promise<boolean> =>
  (await requests()).some(({ about, end }) => about === send && end !== null)

async function isSettled({ database }: Scene, { jobId, lease }: Caught): Promise<boolean> {
  const [found] = await database.query(
    `select from job_attempt where job_id = $1 and lease_id = $2 and outcome <> 'lost'`,
    [jobId, lease],
  )
  return found !== undefined
}

/** Somebody else runs it, or has run it, after the lease was taken from its worker. */
async function isTakenOver({ database }: Scene, { jobId, lease }: Caught): Promise<boolean> {
  const [found] = await database.query(
    `select from job_attempt a where a.job_id = $1 and a.lease_id = $2 and a.outcome = 'lost'
     and exists (select from job_run where job_id = $1 union all
                 select from job_attempt where job_id = $1 and lease_id > $2)`,
    [jobId, lease],
  )
  return found !== undefined
}

/**
 * A worker is paused while an effect of its own takes place, and counts as dead. It comes back when another one runs
 * the job: its late settlement must not end the other's lease. Gives the job and the paused worker.
 */
export async function comeBackLate(
  scene: Scene,
  meanwhile: (paused: string) => Promise<void>,
): Promise<Caught> {
  for (const workMs of BAIT_MS) {
    const caught = await catchWorker(scene, workMs)
    if (!caught) continue
    const { worker } = caught
    let late = false
    await scene.chaos.hold('pause', worker, async () => {
      // Not answered now means that the worker, which is paused, cannot have settled.
      if (await isAnswered(scene, caught)) return
      await scene.chaos.declareDead(worker)
      await meanwhile(worker)
      await until(`${caught.send} of ${worker} is taken over`, () => isTakenOver(scene, caught))
      late = true
    })
    if (late) return caught
  }
  throw new Error('no worker could be paused in time')
}

/** A worker is killed while an effect of its own takes place: another one, or its successor, must run the job again. */
export async function killAtWork(scene: Scene): Promise<void> {
  for (const workMs of BAIT_MS) {
    const caught = await catchWorker(scene, workMs)
    if (!caught) continue
    await scene.chaos.act({ at: 0, kind: 'kill', process: caught.worker, backAfterMs: 0 })
    // Answered in the last moment, it may have been settled as well.
    let settled = false
    await until(`${caught.send} of ${caught.worker} is taken over`, async () => {
      settled = await isSettled(scene, caught)
      return settled || isTakenOver(scene, caught)
    })
    if (settled) continue
    return
  }
  throw new Error('no worker could be killed in time')
}
