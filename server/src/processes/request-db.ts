import type { Db } from '../platform/db/db.ts'
import { createRequestDb } from '../platform/db/request-db.ts'
import type { Platform } from '../platform/platform.ts'
import type { Environment } from './runtime.ts'

/** The Db of a plane's routes: what a request asks through it, it asks for its own workspace (docs/decisions/0015). */
export const openRequestDb = (
  plane: 'control' | 'exec',
  { config, databaseUrl }: Environment,
  { log, metrics }: Pick<Platform, 'log' | 'metrics'>,
): Db =>
  createRequestDb({
    url: databaseUrl,
    applicationName: `orchestrator ${plane} requests`,
    poolSize: config.dbPoolSize,
    slowQueryMs: config.slowQueryMs,
    ...{ log, metrics },
  })
