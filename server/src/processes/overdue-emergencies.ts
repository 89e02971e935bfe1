/** Tells of emergency sessions that ran out of time, while the hub runs. Wiring only. */
import { endOverdueSessions } from '../features/break-glass/break-glass.ts'
import type { Environment } from '../features/workspaces/workspaces.ts'
import type { Platform } from '../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../platform/repeated-work.ts'

/** So late at most is the end of a session told. Its tokens have ended long before. */
const EVERY_MS = 30_000

export const createEmergencyCare = ({
  db,
  clock,
  log,
  environment,
}: Pick<Platform, 'db' | 'clock' | 'log'> & { readonly environment: Environment }): RepeatedWork =>
  repeatedWork({
    clock,
    everyMs: EVERY_MS,
    work: () => endOverdueSessions(db, environment),
    failed: (err) =>
      log.warn({ err }, 'the end of an emergency session could not be told; it is tried again'),
  })
