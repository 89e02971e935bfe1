/** The console process: the page for operators. Talks to control only and stays up when everything else is down. Wiring only. */
import { fileURLToPath } from 'node:url'
import { serveStaticSite } from '../platform/http/static-site.ts'
import { createMetrics } from '../platform/metrics.ts'
import { type BuiltProcess, createProcessServer, type Environment } from './runtime.ts'
import { askProcess, HubStatus } from './status.ts'
import { VERSION } from './version.ts'

const SITE = fileURLToPath(new URL('../../../console/public/', import.meta.url))
const ASK_TIMEOUT_MS = 4_000

export async function buildConsole(environment: Environment): Promise<BuiltProcess> {
  const { config } = environment
  const log = environment.log.child({ process: 'console' })
  const metrics = createMetrics('console')
  const control = config.urls.control

  const app = await createProcessServer(
    environment,
    { log, metrics },
    {
      checks: [
        { name: 'control', check: async () => fetch(`${control}/health`).then((answer) => answer.json()) },
      ],
    },
  )
  await serveStaticSite(app, SITE)
  app.get('/status', { config: { access: 'public' }, schema: { response: { 200: HubStatus } } }, async () => {
    try {
      const answer = await fetch(`${control}/status`, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) })
      if (answer.ok) return (await answer.json()) as never
    } catch {
      // Told below: that control is away is the answer, not an error of this page.
    }
    return {
      version: VERSION,
      environment: config.environment,
      processes: [await askProcess('control', control)],
    }
  })
  return { name: 'console', app, stopSteps: [] }
}
