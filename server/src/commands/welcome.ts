import type { Config } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import type { Hub } from '../processes/all.ts'
import { issueOperatorToken } from '../processes/operator-token.ts'
import { ApiError } from './api.ts'
import { box } from './command.ts'
import { setUpDemoWorkspace } from './demo/workspace-setup.ts'

/** An hour: long enough to try things, short enough to leave in a terminal's history. */
const TOKEN_SECONDS = 3_600

const DEMO_WORKSPACES = [
  ['buildos-dev', 'BuildOS'],
  ['beauty-dev', 'Beauty'],
] as const

interface Started {
  readonly logPath: string | undefined
  readonly seconds: number
}

const addresses = (config: Config, hub: Hub, { logPath, seconds }: Started): string[] => [
  `Ready in ${seconds.toFixed(1)} s (${config.environment}). Ctrl-C stops everything.`,
  '',
  `Console   ${hub.urls.console}`,
  `Control   ${hub.urls.control}   API: ${hub.urls.control}/docs`,
  `Exec      ${hub.urls.exec}   API: ${hub.urls.exec}/docs`,
  `Ingress   ${hub.urls.ingress}   API: ${hub.urls.ingress}/docs`,
  `Worker    ${hub.urls.worker}/metrics`,
  `Database  ${hub.embedded ? `embedded, in ${config.dataDir}` : 'DATABASE_URL'}`,
  `Log       ${logPath ?? 'standard output'}`,
]

/** Two tokens and three commands that work as they stand. */
async function thingsToTry(config: Config, hub: Hub): Promise<string[]> {
  const target = { config, controlUrl: hub.urls.control }
  const [first] = await Promise.all(
    DEMO_WORKSPACES.map(([slug, name]) => setUpDemoWorkspace(target, slug, name)),
  ).catch((error: unknown) => {
    if (!(error instanceof ApiError)) throw error
    throw new StartRefused(
      `The demo workspaces cannot be made (${error.message}). DEMO_WORKSPACES=false starts without them.`,
      { cause: error },
    )
  })
  if (!first) throw new Error('no demo workspace')
  const tokenFor = (plane: 'exec' | 'control') =>
    issueOperatorToken(config, { plane, tenantId: first.id, lifetimeSeconds: TOKEN_SECONDS })
  const body = '{"connector":"hub","operation":"health","input":{}}'
  return [
    '',
    `Workspaces ${DEMO_WORKSPACES.map(([slug]) => slug).join(' and ')} are there to try. Tokens for ${first.slug}, good for an hour;`,
    `new ones: npx orchestrator token exec --workspace ${first.slug}`,
    '',
    `export EXEC_TOKEN=${await tokenFor('exec')}`,
    '',
    `export CONTROL_TOKEN=${await tokenFor('control')}`,
    '',
    '# 1. Call an upstream through the hub, now',
    curl(`${hub.urls.exec}/execute`, body),
    '',
    '# 2. The same as a job',
    curl(`${hub.urls.exec}/jobs`, body),
    '',
    '# 3. Send a signed Stripe event and watch it arrive at a product',
    'npx orchestrator trigger stripe invoice.paid',
  ]
}

/** What `start all` prints: one box with where everything is and, where there are demo workspaces, what to try. */
export async function welcome(config: Config, hub: Hub, started: Started): Promise<string> {
  const lines = addresses(config, hub, started)
  if (config.demoWorkspaces) lines.push(...(await thingsToTry(config, hub)))
  return `\n${box('Orchestrator', lines)}\n`
}

const curl = (url: string, body: string): string =>
  `curl -s ${url} -H "authorization: Bearer $EXEC_TOKEN" -H 'content-type: application/json' -d '${body}'`
