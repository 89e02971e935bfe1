import type { HttpServer } from '../../platform/http/http-server.ts'
import type { Platform } from '../../platform/platform.ts'
import type { ReasonToStop } from '../workspaces/workspaces.ts'
import { addEventRoutes, type StreamLimits } from './event-routes.ts'

/** The event log for products: `GET /events`, `GET /events/stream`. */
export const eventsExec = (
  app: HttpServer,
  platform: Platform,
  reasonToStop: ReasonToStop,
  stream?: Partial<StreamLimits>,
): void =>
  addEventRoutes(app, platform, {
    reasonToStop,
    ...(stream && { stream }),
  })
