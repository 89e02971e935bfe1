import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Config, loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { startAll } from '../processes/all.ts'
import { type Command, print } from './command.ts'
import { playDemo } from './demo/scenario.ts'
import { openLog } from './log-destination.ts'

/** A port that nobody listens on at this moment. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** A hub of its own: it shares nothing with one that may be running, and reads nothing of this environment. */
async function demoConfig(folder: string): Promise<Config> {
  const names = ['CONTROL', 'EXEC', 'CONSOLE', 'INGRESS', 'WORKER']
  const ports = new Set<number>()
  while (ports.size < names.length) ports.add(await freePort())
  const portOf = [...ports]
  return loadConfig({
    DATA_DIR: folder,
    DEMO_WORKSPACES: 'false',
    ...Object.fromEntries(names.map((name, at) => [`${name}_PORT`, String(portOf[at])])),
  })
}

/** Runs the whole flow on a hub of its own in a temporary folder. Exit code 0 only when all of it happened. */
export const demo: Command = {
  name: 'demo',
  usage: 'demo',
  summary: 'Prove the whole flow on a hub of its own and print its timeline',
  run: async (args) => {
    if (args.length > 0) throw new StartRefused('`demo` takes no arguments.')
    const folder = await mkdtemp(join(tmpdir(), 'orchestrator-demo-'))
    const startedAt = performance.now()
    try {
      const config = await demoConfig(folder)
      const { log } = openLog(config, 'all')
      const hub = await startAll(config, log)
      print(`A hub of its own is up after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s.`)
      try {
        await playDemo(config, hub.urls)
      } finally {
        await hub.stop()
      }
      print(`\nAll of it happened, in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s.`)
      return 0
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
}
