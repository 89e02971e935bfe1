import type { HttpServer } from '../../platform/http/server.ts'
import type { Platform } from '../../platform/platform.ts'
import { addEventRoutes, type StreamLimits } from './event-routes.ts'

/** The event log for operators: `GET /events`, `GET /events/stream`. */
export const eventsControl = (app: HttpServer, platform: Platform, stream?: Partial<StreamLimits>): void =>
  addEventRoutes(app, platform, { scope: 'orchestrator.control.read', ...(stream && { stream }) })
