import type { HttpServer } from '../../platform/http/http-server.ts'
import type { Platform } from '../../platform/platform.ts'
import { mayReadOn, type WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { addEventRoutes, type StreamLimits } from './event-routes.ts'

/** The event log for products: `GET /events`, `GET /events/stream`. */
export const eventsExec = (
  app: HttpServer,
  platform: Platform,
  directory: Pick<WorkspaceDirectory, 'find'>,
  stream?: Partial<StreamLimits>,
): void =>
  addEventRoutes(app, platform, {
    mayReadOn: (principal) => mayReadOn(directory, principal),
    ...(stream && { stream }),
  })
