import type { HttpServer } from '../../platform/http/http-server.ts'
import type { TokenEndpointDeps } from './client-credentials.ts'
import { addTokenRoutes } from './oauth.ts'

/** Tokens of the exec plane, for products. */
export const oauthExec = (app: HttpServer, deps: TokenEndpointDeps): void => addTokenRoutes(app, 'exec', deps)
