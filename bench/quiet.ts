import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

/** What others did with the machine's cores while the bench rested. */
export interface Quiet {
  readonly foreignCores: number
}

const LOOK_MS = 400
const QUIET_CORES = 0.2
/** USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/**
 * Waits up to `patienceMs` until other programs use less than a fifth of a core. Gives what they used at last:
 * a noisy machine does not stop the bench, but its report says so.
 */
export async function waitForQuiet(own: readonly number[], patienceMs: number): Promise<Quiet> {
  const until = performance.now() + patienceMs
  for (;;) {
    const foreignCores = await foreignLoad(own)
    if (foreignCores < QUIET_CORES || performance.now() >= until) return { foreignCores }
    await delay(500)
  }
}

async function foreignLoad(own: readonly number[]): Promise<number> {
  const before = await Promise.all([busyTicks(), ownTicks(own)])
  const started = performance.now()
  await delay(LOOK_MS)
  const after = await Promise.all([busyTicks(), ownTicks(own)])
  const seconds = (performance.now() - started) / 1_000
  const ticks = after[0] - before[0] - (after[1] - before[1])
  return Math.max(0, ticks / TICKS_PER_SECOND / seconds)
}

/** proc(5), /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. Steal is other machines' work. */
async function busyTicks(): Promise<number> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return user + nice + system + irq + softirq + steal
}

async function ownTicks(pids: readonly number[]): Promise<number> {
  let sum = 0
  for (const pid of pids) sum += await ticksOf(pid)
  return sum
}

/** proc(5), /proc/<pid>/stat: fields 14 and 15, counted after the name, which may hold spaces. */
async function ticksOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
}
