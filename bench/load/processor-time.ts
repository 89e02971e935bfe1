import { readdir, readFile } from 'node:fs/promises'

/** USER_HZ, which is 100 on every Linux that Node runs on. */
const MICROSECONDS_PER_TICK = 10_000

/** µs per operation, as metrics of a sample. */
export interface ProcessorTime {
  readonly cpu: number
  /** The servers' part of it. */
  readonly cpuServer: number
}

/**
 * Starts to count the processor time that this process (or `clients` in its place), the servers and their
 * children use; the function it gives divides it by the operations so far. Wall-clock rates drift with everything
 * else on the machine; this does so much less.
 */
export async function countProcessorTime(
  servers: readonly number[],
  clients?: readonly number[],
): Promise<(operations: number) => Promise<ProcessorTime>> {
  const look = async () => {
    const { user, system } = process.cpuUsage()
    const server = (await serverTicks(new Set(servers))) * MICROSECONDS_PER_TICK
    const client = clients ? (await serverTicks(new Set(clients))) * MICROSECONDS_PER_TICK : user + system
    return { server, client }
  }
  const before = await look()
  return async (operations) => {
    const after = await look()
    const server = after.server - before.server
    return {
      cpu: (server + after.client - before.client) / operations,
      cpuServer: server / operations,
    }
  }
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
