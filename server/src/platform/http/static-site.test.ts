import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { createHttpServer, type HttpServer } from './server.ts'
import { serveStaticSite } from './static-site.ts'

let app: HttpServer
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'static-site-'))
  await writeFile(join(folder, 'index.html'), '<!doctype html><title>page</title>')
  await writeFile(join(folder, 'app.js'), 'export {}')
  await writeFile(join(folder, '.env'), 'PASSWORD=hunter2')
  app = await createHttpServer({
    log: createLog('test', 'silent'),
    metrics: createMetrics('test', false),
    trustedProxies: [],
    bodyLimitBytes: 10_000,
    handlerTimeoutMs: 1_000,
    checks: [],
  })
  app.get('/status', { config: { access: 'public' } }, async () => ({ ok: true }))
  await serveStaticSite(app, folder)
  await app.ready()
})

afterAll(async () => {
  await app.close()
  await rm(folder, { recursive: true })
})

const get = (url: string, headers: Record<string, string> = {}) => app.inject({ method: 'GET', url, headers })

describe('a static site', () => {
  test('answers / with the page and files with their type', async () => {
    const page = await get('/')
    expect(page.statusCode).toBe(200)
    expect(page.headers['content-type']).toMatch(/^text\/html/)
    expect(page.body).toContain('<title>page</title>')
    expect((await get('/app.js')).headers['content-type']).toMatch(/javascript/)
  })

  test('allows nothing but its own origin, and the other routes stay at nothing', async () => {
    const csp = String((await get('/')).headers['content-security-policy'])
    expect(csp).toContain("default-src 'none'")
    expect(csp).toContain("script-src 'self'")
    expect(csp).toContain("frame-ancestors 'none'")
    expect(csp).not.toContain('unsafe')
    expect(String((await get('/status')).headers['content-security-policy'])).not.toContain('script-src')
    expect((await get('/')).headers['x-content-type-options']).toBe('nosniff')
  })

  test('lets browsers keep a file but ask whether it has changed', async () => {
    const first = await get('/app.js')
    expect(first.headers['cache-control']).toBe('no-cache')
    const again = await get('/app.js', { 'if-none-match': String(first.headers.etag) })
    expect(again.statusCode).toBe(304)
  })

  test.each(['/.env', '/..%2f..%2fetc/passwd', '/%2e%2e/package.json', '/missing.js', '/index.html%00.js'])(
    'does not give out %s',
    async (url) => {
      const answer = await get(url)
      expect(answer.statusCode).toBeGreaterThanOrEqual(400)
      expect(answer.statusCode).toBeLessThan(500)
      expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
      expect(answer.body).not.toContain('hunter2')
    },
  )

  test('takes no method but GET and HEAD', async () => {
    expect((await app.inject({ method: 'POST', url: '/app.js', payload: {} })).statusCode).toBe(404)
    expect((await app.inject({ method: 'HEAD', url: '/app.js' })).statusCode).toBe(200)
  })
})
