import type { HttpServer } from '../../platform/http/http-server.ts'
import type { ReasonToStop } from '../workspaces/workspaces.ts'
import { addEventRoutes, type EventDeps, type StreamLimits } from './event-routes.ts'

/** The event log for products: `GET /events`, `GET /events/stream`. */
export const eventsExec = (
  app: HttpServer,
  deps: EventDeps,
  reasonToStop: ReasonToStop,
  stream?: Partial<StreamLimits>,
): void =>
  addEventRoutes(app, deps, {
    reasonToStop,
    ...(stream && { stream }),
  })
