import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'

const HUB = fileURLToPath(new URL('./embedded-hub.ts', import.meta.url))

export interface StartedHub {
  readonly pid: number
  readonly url: string
  readonly adminUrl: string
  readonly failure?: string
}

/** Starts `embedded-hub.ts`; `started` resolves with what it printed. */
export function spawnHub(
  options: Readonly<Record<string, unknown>>,
  as: { readonly uid?: number; readonly gid?: number } = {},
): { readonly child: ChildProcess; readonly started: Promise<StartedHub>; stop(): Promise<void> } {
  const child = spawn(process.execPath, [HUB, JSON.stringify(options)], {
    ...as,
    // A process group of its own, which a test may signal as a terminal does.
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const started = once(createInterface({ input: child.stdout }), 'line').then(([line]) => JSON.parse(line))
  return {
    child,
    started,
    stop: async () => {
      const closed = once(child, 'close')
      child.stdin.end()
      await closed
    },
  }
}

/** Kills without a chance to clean up, and waits until the process is gone. */
export async function killHard(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

/** True while the process runs. A zombie does not: an orphan becomes one where nobody reaps (proc(5), field 3). */
export function runs(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !'ZX'.includes(stat.charAt(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

/** Runs one statement on a connection of its own. */
export async function query<Row>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query(sql)).rows as Row[]
  } finally {
    await client.end()
  }
}
