import fastifyStatic from '@fastify/static'
import type { HttpServer } from './http-server.ts'
import { securityHeaders } from './security-headers.ts'

/**
 * Everything comes from the site's own origin: no inline script or style, no other host, no frame, no form.
 * `connect-src` lets the page ask its own server.
 */
const CONTENT_SECURITY_POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
}

/**
 * Serves the files of a folder, `index.html` at `/`, to everybody. Names carry no content hash, so browsers keep
 * the files but ask each time whether they have changed (`no-cache` with an ETag). Files that begin with a dot
 * and paths out of the folder do not exist.
 */
export async function serveStaticSite(app: HttpServer, directory: string): Promise<void> {
  const headers = await securityHeaders(CONTENT_SECURITY_POLICY)
  await app.register(async (scope) => {
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public', securityHeaders: headers }
    })
    await scope.register(fastifyStatic, {
      root: directory,
      dotfiles: 'ignore',
      cacheControl: false,
      setHeaders: (reply) => {
        reply.header('cache-control', 'no-cache')
      },
    })
  })
}
