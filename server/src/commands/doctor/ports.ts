import type { Config } from '../../config.ts'
import { isFree } from '../../platform/embedded/port.ts'
import type { Finding } from './finding.ts'

const HEALTH_TIMEOUT_MS = 1_000

/** True when what listens there answers like a process of the hub. */
async function isHub(port: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/health`, {
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    })
    return ((await answer.json()) as { status?: unknown }).status === 'ok'
  } catch {
    return false
  }
}

/** Each port is free, or a hub that runs already has it. */
export async function checkPorts(config: Config): Promise<readonly Finding[]> {
  return Promise.all(
    Object.entries(config.ports).map(async ([process, port]): Promise<Finding> => {
      const name = `port ${port}`
      if (await isFree(port)) return { name, ok: true, detail: `free for ${process}` }
      if (await isHub(port)) return { name, ok: true, detail: `a hub runs there (${process})` }
      return {
        name,
        ok: false,
        detail: `${process} needs it and another program has it`,
        mend: `Stop that program, or set ${process.toUpperCase()}_PORT to a free port.`,
      }
    }),
  )
}
