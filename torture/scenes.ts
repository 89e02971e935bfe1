/** Short pieces of chaos that go exactly for one promise each; with a planted bug each of them must break it. */
import { setTimeout as delay } from 'node:timers/promises'
import { databaseLink } from './schedule.ts'
import type { Scene } from './torture.ts'

const LOOK_MS = 50
const PATIENCE_MS = 30_000

/** An exec process is killed while it cannot reach the database: what it has said yes to must be stored. */
export async function killBeforeCommit({ chaos }: Scene, exec: string): Promise<void> {
  await chaos.hold('stall', databaseLink(exec), async () => {
    await delay(400)
    await chaos.act({ at: 0, kind: 'kill', process: exec, backAfterMs: 100 })
  })
}

/**
 * A worker is cut off from the database while its jobs end, is declared dead, and comes back just when another one
 * is running them: its late settlements must not end the other's leases.
 */
export async function comeBackLate({ chaos, database }: Scene, worker: string): Promise<void> {
  await chaos.hold('stall', databaseLink(worker), async () => {
    await chaos.declareDead(worker)
    const until = Date.now() + PATIENCE_MS
    for (let runs = 0; runs === 0; await delay(LOOK_MS)) {
      if (Date.now() > until) throw new Error(`nobody runs the jobs of ${worker} again`)
      const [row] = await database.query<{ runs: number }>(
        `select count(*)::int as runs
         from job_run r
         join node now on now.node_id = r.node_id and now.host <> $1
         join job_attempt a on a.tenant_id = r.tenant_id and a.job_id = r.job_id and a.outcome = 'lost'
         join node before on before.node_id = a.node_id and before.host = $1`,
        [worker],
      )
      runs = row?.runs ?? 0
    }
  })
}
