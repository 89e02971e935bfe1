/** The OpenAPI documents of the processes that publish one, from servers that never listen. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../config.ts'
import { createLog } from '../platform/log.ts'
import { BUILDERS } from './one.ts'
import { stopInOrder } from './runtime.ts'
import { memoryNodeStore } from './shared-store.ts'

/** Nothing answers there: a built server connects to nothing until it is asked something. */
const NO_DATABASE = 'postgres://nobody@127.0.0.1:1/none'
const STOP_MS = 5_000

/** Builds each server, takes its document, stops it. */
export async function openApiDocuments(): Promise<Readonly<Record<'exec' | 'control' | 'ingress', object>>> {
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-open-api-'))
  const environment = {
    config: loadConfig({ DATA_DIR: folder, DATABASE_URL: NO_DATABASE }),
    databaseUrl: NO_DATABASE,
    log: createLog('open-api', 'silent'),
    sharedStore: memoryNodeStore(),
  }
  const documentOf = async (name: 'exec' | 'control' | 'ingress'): Promise<object> => {
    const { app, stopSteps } = await BUILDERS[name](environment)
    try {
      await app.ready()
      return app.swagger()
    } finally {
      await stopInOrder(environment.log, STOP_MS, [['server', () => app.close()], ...stopSteps])
    }
  }
  try {
    return {
      exec: await documentOf('exec'),
      control: await documentOf('control'),
      ingress: await documentOf('ingress'),
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
