import type { Health, HealthContext } from '../../define-connector.ts'
import type { TokenSource } from './oauth.ts'
import { compileRequest } from './request.ts'
import { sendAuthorized } from './send.ts'
import type { HttpSettings } from './settings.ts'

const MAX_HEALTH_BYTES = 64 * 1024

/**
 * The request that the settings name, which must end in a 2xx; or a HEAD of the base URL, for which any answer will
 * do that neither refuses the credentials nor is a fault of the upstream.
 */
export async function checkHttpHealth(
  settings: HttpSettings,
  tokens: TokenSource,
  context: HealthContext,
): Promise<Health> {
  const { auth, health } = settings
  const method = health ? (health.method ?? 'GET') : 'HEAD'
  const { status } = await sendAuthorized(
    { auth, tokens, maxResponseBytes: MAX_HEALTH_BYTES },
    {
      method,
      url: health ? urlOf(settings.base_url, health.path) : settings.base_url,
      headers: { accept: '*/*', 'user-agent': 'orchestrator', ...lowerCased(settings.headers) },
    },
    context,
  )
  return { ...verdict(status, health?.path, method), details: { http_status: status } }
}

const lowerCased = (headers: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

function urlOf(baseUrl: string, path: string): string {
  const rendered = compileRequest(baseUrl, { method: 'GET', path })({})
  if ('faults' in rendered) throw new Error('the path of the health check has been checked when it was saved')
  return rendered.request.url
}

function verdict(status: number, path: string | undefined, method: string): Omit<Health, 'details'> {
  if (status === 401 || status === 403)
    return { healthy: false, message: `The upstream refuses the credentials (HTTP ${status}).` }
  if (path !== undefined)
    return {
      healthy: status >= 200 && status <= 299,
      message: `The upstream answers ${method} ${path} with HTTP ${status}.`,
    }
  return {
    healthy: status < 500,
    message: `The upstream answers a HEAD of the base URL with HTTP ${status}; a health path would prove more.`,
  }
}
