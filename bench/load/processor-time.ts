import { readdir, readFile } from 'node:fs/promises'

/** USER_HZ, which is 100 on every Linux that Node runs on. */
const MICROSECONDS_PER_TICK = 10_000

/**
 * Processor time in µs that this process, the given servers and their children have used so far. Wall-clock
 * rates drift with everything else on the machine; this does so much less.
 */
export async function processorTimeUs(servers: readonly number[]): Promise<number> {
  const { user, system } = process.cpuUsage()
  return user + system + (await serverTicks(new Set(servers))) * MICROSECONDS_PER_TICK
}

/** proc(5), /proc/<pid>/stat: parent, user and system time are fields 4, 14 and 15, counted after the name. */
async function serverTicks(servers: ReadonlySet<number>): Promise<number> {
  let ticks = 0
  for (const name of await readdir('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    if (servers.has(pid) || servers.has(Number(fields[1])))
      ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
  }
  return ticks
}
