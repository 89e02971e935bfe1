import type { Config } from '../../config.ts'
import { openConnection } from '../../platform/redis/redis-connection.ts'
import { nameOf, parseRedisUrls } from '../../platform/redis/redis-url.ts'
import type { Finding } from './finding.ts'

/** The Redis of REDIS_URL: reachable, and one that can hold limits. Without one, what that means. */
export async function checkRedis({ redisUrl, limits }: Config): Promise<readonly Finding[]> {
  const name = 'redis'
  if (redisUrl === undefined) {
    const detail =
      limits === 'shared'
        ? 'none: limits are kept in memory, for one Node process with exec or worker'
        : 'none: limits are counted by each process alone, as LIMITS=per-node says'
    return [{ name, ok: true, detail }]
  }
  const endpoints = parseRedisUrls(redisUrl)
  const where = endpoints.map(nameOf).join(', ')
  try {
    const connection = await openConnection({
      endpoints,
      clientName: 'orchestrator-doctor',
      onLost: () => undefined,
    })
    try {
      await connection.pingAll()
    } finally {
      connection.destroy()
    }
    return [{ name, ok: true, detail: `${where} (${connection.kind})` }]
  } catch (error) {
    const mend =
      'Is REDIS_URL right, and does the server run? Until then each process holds its part of every limit.'
    return [{ name, ok: false, detail: (error as Error).message, mend }]
  }
}
