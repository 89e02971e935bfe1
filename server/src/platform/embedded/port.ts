import { randomInt } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'

const LOWEST = 10_240
/** Below what the kernel hands out to outgoing connections: those would take the port while the hub is stopped. */
const USUAL_EPHEMERAL = 32_768

/** The port of this folder's server: the one it had before if it is free, else a new free one, which is then kept. */
export async function choosePort(home: string): Promise<number> {
  const file = join(home, 'port')
  const kept = Number((await readFile(file, 'utf8').catch(() => '')).trim())
  if (Number.isInteger(kept) && kept > 0 && kept < 65_536 && (await isFree(kept))) return kept
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '')
  const ephemeral = Number.parseInt(range, 10) || USUAL_EPHEMERAL
  const end = Math.max(LOWEST + 1_000, Math.min(ephemeral, USUAL_EPHEMERAL))
  for (;;) {
    const port = randomInt(LOWEST, end)
    if (!(await isFree(port))) continue
    await writeFile(file, `${port}\n`)
    return port
  }
}

/** True when this process could listen on the port of the loopback address at this moment. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
