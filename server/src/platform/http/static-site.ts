import type { FastifyHelmetOptions } from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import type { HttpServer } from './http-server.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Where the helmet plugin looks for what differs on one route. */
    helmet?: Pick<FastifyHelmetOptions, 'contentSecurityPolicy'>
  }
}

/**
 * Everything comes from the site's own origin: no inline script or style, no other host, no frame, no form.
 * `connect-src` lets the page ask its own server.
 */
const CONTENT_SECURITY_POLICY = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'"],
    connectSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'none'"],
    frameAncestors: ["'none'"],
  },
}

/**
 * Serves the files of a folder, `index.html` at `/`, to everybody. Names carry no content hash, so browsers keep
 * the files but ask each time whether they have changed (`no-cache` with an ETag). Files that begin with a dot
 * and paths out of the folder do not exist.
 */
export async function serveStaticSite(app: HttpServer, directory: string): Promise<void> {
  await app.register(async (scope) => {
    scope.addHook('onRoute', (route) => {
      const helmet = { contentSecurityPolicy: CONTENT_SECURITY_POLICY }
      route.config = { ...route.config, access: 'public', helmet }
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
