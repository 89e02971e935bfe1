/** `GET /status` of control: which processes of the hub are up. What the console's first page shows. */
import { Type } from 'typebox'
import type { Config } from '../config.ts'
import type { HttpServer } from '../platform/http/http-server.ts'
import { ReadinessChecks } from '../platform/http/probes.ts'
import { VERSION } from './version.ts'

const Process = Type.Object({
  name: Type.String({ description: 'Name of the process.' }),
  url: Type.String({ description: 'Where control asked it.' }),
  ready: Type.Boolean({ description: 'Whether it answered and can do its work.' }),
  checks: ReadinessChecks,
})

export const HubStatus = Type.Object({
  version: Type.String({ description: 'Version of the hub.' }),
  environment: Type.String({ description: '`dev` or `prod`.' }),
  processes: Type.Array(Process, { description: 'Each process by name.' }),
})

interface ProcessStatus {
  name: string
  url: string
  ready: boolean
  checks: { name: string; ok: boolean; detail?: string }[]
}

const ASK_TIMEOUT_MS = 2_000

/** What `/ready` of a process says; a process that does not answer is not ready. */
export async function askProcess(name: string, url: string): Promise<ProcessStatus> {
  try {
    const answer = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) })
    const { ready, checks } = (await answer.json()) as Pick<ProcessStatus, 'ready' | 'checks'>
    return { name, url, ready: ready === true, checks: Array.isArray(checks) ? checks : [] }
  } catch {
    return { name, url, ready: false, checks: [{ name: 'process', ok: false, detail: 'does not answer' }] }
  }
}

export function statusControl(app: HttpServer, config: Config): void {
  app.get(
    '/status',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getStatus',
        tags: ['operations'],
        summary: 'Which processes of this hub are up, and what each depends on',
        response: { 200: HubStatus },
      },
    },
    async () => ({
      version: VERSION,
      environment: config.environment,
      processes: await Promise.all(Object.entries(config.urls).map(([name, url]) => askProcess(name, url))),
    }),
  )
}
