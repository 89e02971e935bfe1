import { createServer } from 'node:net'
import type { Config } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'

const ASK_TIMEOUT_MS = 1_000

/** The code of the failure to listen there now; undefined when the port is free. */
function listenFailure(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

/** True when what has the port answers like a process of a hub. */
async function isHub(port: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/health`, {
      signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
    })
    return ((await answer.json()) as { status?: unknown }).status === 'ok'
  } catch {
    return false
  }
}

/**
 * Looks at all ports before anything is made, and names all that are taken together. Throws StartRefused. A port
 * that is taken between this look and the start is still refused by `listen`.
 */
export async function requireFreePorts({ host, ports }: Config): Promise<void> {
  const looks = await Promise.all(
    Object.entries(ports).map(async ([name, port]) => ({
      name,
      port,
      taken: (await listenFailure(host, port)) === 'EADDRINUSE',
    })),
  )
  const taken = looks.filter((look) => look.taken)
  if (taken.length === 0) return
  const hubs = await Promise.all(taken.map(({ port }) => isHub(port)))
  const lines = taken.map(
    ({ name, port }, at) =>
      `Port ${port} (${name}) is taken by ${hubs[at] ? 'an Orchestrator that runs already' : 'another program'}; another port: ${name.toUpperCase()}_PORT=…`,
  )
  throw new StartRefused(`${lines.join('\n')}\nStop what has the ports, or choose others.`)
}
