import type { HttpServer } from '../../platform/http/server.ts'
import type { Platform } from '../../platform/platform.ts'
import { addEventRoutes, type StreamLimits } from './event-routes.ts'

/** The event log for products: `GET /events`, `GET /events/stream`. */
export const eventsExec = (app: HttpServer, platform: Platform, stream?: Partial<StreamLimits>): void =>
  addEventRoutes(app, platform, { scope: 'orchestrator.events.read', ...(stream && { stream }) })
