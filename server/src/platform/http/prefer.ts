import type { FastifyRequest } from 'fastify'

const WAIT = /^wait\s*=\s*"?(\d{1,9})"?$/i

/**
 * The seconds of `Prefer: wait=N` (RFC 7240 §4.3), at most `most`; undefined without one. What cannot be read is
 * ignored, as the RFC demands of every preference, and of several the first counts (§2).
 */
export function preferredWaitSeconds(
  request: Pick<FastifyRequest, 'headers'>,
  most: number,
): number | undefined {
  const preferences = String(request.headers.prefer ?? '').split(',')
  for (const preference of preferences) {
    // Parameters after a semicolon are not ours.
    const [token = ''] = preference.split(';')
    const seconds = WAIT.exec(token.trim())?.[1]
    if (seconds !== undefined) return Math.min(Number(seconds), most)
  }
  return undefined
}
