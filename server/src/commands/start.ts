import { type Config, loadConfig } from '../config.ts'
import type { Log } from '../platform/log.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { startAll } from '../processes/all.ts'
import { isProcessName, startOne } from '../processes/one.ts'
import { type Command, print } from './command.ts'
import { openLog } from './log-destination.ts'
import { welcome } from './welcome.ts'

/** npm passes on a Ctrl-C that the terminal has sent to this process as well: two so close are one. */
const ECHO_MS = 500

/** Resolves with the name of the signal that asks this process to stop; a second one ends it at once. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let askedAt: number | undefined
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        askedAt ??= performance.now()
        if (performance.now() - askedAt > ECHO_MS) process.exit(130)
        resolve(signal)
      })
  })
}

async function runAll(config: Config, log: Log, logPath: string | undefined): Promise<number> {
  const startedAt = performance.now()
  const asked = stopSignal()
  const hub = await startAll(config, log)
  const ended = Promise.race([asked, hub.lost])
  try {
    print(await welcome(config, hub, { logPath, seconds: (performance.now() - startedAt) / 1000 }))
  } catch (error) {
    await hub.stop()
    throw error
  }
  const reason = await ended
  if (typeof reason === 'string') print('Stopping …')
  await hub.stop()
  if (typeof reason !== 'string') throw reason
  return 0
}

/** `start` runs the whole hub, `start <process>` one process of it against DATABASE_URL. */
export const start: Command = {
  name: 'start',
  usage: 'start [all|control|exec|ingress|worker|console]',
  summary: 'Run the hub, or one process of it',
  run: async ([role = 'all', ...rest]) => {
    if ((role !== 'all' && !isProcessName(role)) || rest.length > 0)
      throw new StartRefused(
        `\`start\` takes one of: all, control, exec, ingress, worker, console. It got: ${[role, ...rest].join(' ')}`,
      )
    const config = loadConfig()
    const { log, path } = openLog(config, role)
    if (role === 'all') return runAll(config, log, path)
    const asked = stopSignal()
    const running = await startOne(role, config, log)
    log.info({ url: running.url }, 'listening')
    log.info({ signal: await asked }, 'stopping')
    await running.stop()
    return 0
  },
}
