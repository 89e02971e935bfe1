import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { controlApi } from '../../server/src/commands/control-api.ts'
import { type Config, loadConfig } from '../../server/src/config.ts'
import { choosePort, isFree } from '../../server/src/platform/embedded/port.ts'
import { issueOperatorToken } from '../../server/src/processes/operator-token.ts'
import type { Run } from '../cases/case.ts'

export interface ExecPlane extends Plane {
  /** Of a workspace with the connectors that were asked for. */
  readonly token: string
}

/** A process of the hub. */
export interface Plane {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

/** A workspace on the database of a measurement, and the processes that serve it. */
export interface BenchHub {
  readonly tenantId: string
  readonly config: Config
  start(role: 'exec' | 'ingress' | 'worker'): Promise<Plane>
}

type Where = Pick<Run, 'databaseUrl' | 'folder' | 'nodeArgs'>
type ControlApi = Awaited<ReturnType<typeof controlApi>>

const CLI = join(import.meta.dirname, '../../server/bin/orchestrator.js')
export const REASON = 'bench'
export const SLUG = 'bench-dev'
const START_MS = 20_000

/** Makes a workspace with this config over the control API; `then` makes what the config does not hold. */
export async function openBenchHub(
  { databaseUrl, folder, nodeArgs }: Where,
  document: object,
  then: (api: ControlApi) => Promise<void> = async () => undefined,
): Promise<BenchHub> {
  const control = await choosePort(folder)
  const exec = await portAfter(control)
  const ingress = await portAfter(exec)
  const ports = { control, exec, ingress, worker: await portAfter(ingress) }
  const env = {
    DATABASE_URL: databaseUrl,
    DATA_DIR: folder,
    PAYLOAD_DIR: `${folder}/payloads`,
    CONTROL_PORT: String(ports.control),
    EXEC_PORT: String(ports.exec),
    INGRESS_PORT: String(ports.ingress),
    WORKER_PORT: String(ports.worker),
  }
  const config = loadConfig(env)
  const setUp = await startRole('control', { env, folder, nodeArgs: [], url: config.urls.control })
  let tenantId: string
  try {
    const platformApi = await controlApi(config, config.urls.control)
    const { id } = await platformApi.post<{ id: string }>('/workspaces', {
      slug: SLUG,
      name: 'Bench',
      template: 'empty',
      reason: REASON,
    })
    tenantId = id
    const api = await controlApi(config, config.urls.control, tenantId)
    await then(api)
    const { version } = await api.post<{ version: number }>('/configs', { document, reason: REASON })
    await api.post('/configs/activate', { version, reason: REASON }, { 'if-match': '*' })
  } finally {
    await end(setUp)
  }
  return {
    tenantId,
    config,
    start: async (role) => {
      const child = await startRole(role, { env, folder, nodeArgs, url: config.urls[role] })
      return { port: ports[role], pid: child.pid ?? 0, stop: () => end(child) }
    },
  }
}

/** The real exec process on the database, and a workspace with this config, made over the control API. */
export async function startExecPlane(
  where: Where,
  workspace: { readonly document: object; readonly scopes: readonly string[] },
): Promise<ExecPlane> {
  const hub = await openBenchHub(where, workspace.document)
  const exec = await hub.start('exec')
  const token = await issueOperatorToken(hub.config, {
    plane: 'exec',
    tenantId: hub.tenantId,
    scopes: [...workspace.scopes],
    lifetimeSeconds: 3_600,
  })
  return { ...exec, token }
}

const INPUT = {
  type: 'object',
  properties: {
    n: { type: 'integer' },
    sent_us: { type: 'integer' },
    to: { type: 'string', pattern: '^\\+[0-9]{6,15}$' },
    template: { type: 'string', maxLength: 100 },
    text: { type: 'string', maxLength: 1000 },
  },
  required: ['to', 'text'],
  additionalProperties: false,
}

/** A connector as a product would have it: `message.send` takes the items of the bench. */
export const smsConnector = (baseUrl: string) => ({
  kind: 'http',
  title: 'Messages',
  settings: {
    base_url: baseUrl,
    operations: {
      'message.send': {
        title: 'Send a message',
        method: 'POST',
        path: '/messages',
        body: '{{input}}',
        idempotency_key_header: 'idempotency-key',
        input: INPUT,
      },
    },
  },
})

/** `choosePort` remembers one port per folder; the second one is another. */
async function portAfter(first: number): Promise<number> {
  for (let port = first + 1; ; port += 1) if (await isFree(port)) return port
}

interface Role {
  readonly env: Readonly<Record<string, string>>
  readonly folder: string
  readonly nodeArgs: readonly string[]
  readonly url: string
}

async function startRole(
  role: 'control' | 'exec' | 'ingress' | 'worker',
  { env, folder, nodeArgs, url }: Role,
): Promise<ChildProcess> {
  const logPath = join(folder, `${role}.log`)
  // The product's own log level; its lines go to a file, as they would in production.
  const log = openSync(logPath, 'w')
  const { PATH = '', HOME = folder } = process.env
  const child = spawn(process.execPath, [...nodeArgs, CLI, 'start', role], {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  for (const until = performance.now() + START_MS; ; await delay(50)) {
    if (
      await fetch(`${url}/ready`).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return child
    if (child.exitCode !== null || performance.now() > until) {
      child.kill('SIGKILL')
      throw new Error(`the ${role} process does not start:\n${readFileSync(logPath, 'utf8').slice(-2_000)}`)
    }
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  await gone
}
