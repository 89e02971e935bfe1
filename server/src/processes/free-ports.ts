import { createServer } from 'node:net'
import { type Config, localUrl } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'

const ASK_TIMEOUT_MS = 1_000

/** Who has a port: nobody, a process of a hub, another program; or this process may not listen there at all. */
export type PortLook = 'free' | 'hub' | 'taken' | 'forbidden' | 'no such address'

/** Looks at a port of the address that the hub listens on; `host` as in the setting HOST. */
export async function lookAtPort(host: string, port: number): Promise<PortLook> {
  const code = await listenFailure(host, port)
  if (code === undefined) return 'free'
  if (code === 'EADDRINUSE') return (await isHub(host, port)) ? 'hub' : 'taken'
  return code === 'EACCES' ? 'forbidden' : 'no such address'
}

/** The code of the failure to listen there now; undefined when the port is free. */
function listenFailure(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

/** True when what has the port answers like a process of a hub. */
async function isHub(host: string, port: number): Promise<boolean> {
  try {
    const answer = await fetch(`${localUrl(host, port)}/health`, {
      signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
    })
    return ((await answer.json()) as { status?: unknown }).status === 'ok'
  } catch {
    return false
  }
}

/**
 * Looks at all ports before anything is made, and names all that are taken together. Throws StartRefused. A port
 * that is taken between this look and the start is still refused by `listen`, as is one that nobody may listen on.
 */
export async function requireFreePorts({ host, ports }: Pick<Config, 'host' | 'ports'>): Promise<void> {
  const looks = await Promise.all(
    Object.entries(ports).map(async ([name, port]) => ({ name, port, look: await lookAtPort(host, port) })),
  )
  const taken = looks.filter(({ look }) => look === 'hub' || look === 'taken')
  if (taken.length === 0) return
  const lines = taken.map(
    ({ name, port, look }) =>
      `Port ${port} (${name}) is taken by ${look === 'hub' ? 'an Orchestrator that runs already' : 'another program'}; another port: ${name.toUpperCase()}_PORT=…`,
  )
  throw new StartRefused(`${lines.join('\n')}\nStop what has the ports, or choose others.`)
}
