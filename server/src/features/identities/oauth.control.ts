import type { HttpServer } from '../../platform/http/http-server.ts'
import type { TokenEndpointDeps } from './client-credentials.ts'
import { addTokenRoutes } from './oauth.ts'

/** Tokens of the control plane, for automation. */
export const oauthControl = (app: HttpServer, deps: TokenEndpointDeps): void =>
  addTokenRoutes(app, 'control', deps)
