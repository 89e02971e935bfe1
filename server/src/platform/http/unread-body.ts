import type { IncomingMessage } from 'node:http'

/** Enough for callers that are a little over a limit; whoever sends more, or slowly, is cut off. */
const MAX_BYTES = 32 * 1024 * 1024
const MAX_MS = 2_000

/**
 * Reads and drops what a caller still sends, within bounds. An answer before the end of the body makes the socket
 * close under the sender: many clients then report a broken pipe and never see the answer (RFC 9112 §9.6).
 */
export function dropUnreadBody(request: IncomingMessage): Promise<void> {
  const hasBody =
    request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined
  if (!hasBody || request.readableEnded || request.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    let left = MAX_BYTES
    const count = (chunk: Buffer): void => {
      left -= chunk.length
      if (left <= 0) end()
    }
    const end = (): void => {
      clearTimeout(timer)
      request.off('data', count).off('end', end).off('close', end).off('error', end)
      resolve()
    }
    const timer = setTimeout(end, MAX_MS)
    request.on('data', count).once('end', end).once('close', end).once('error', end)
    request.resume()
  })
}
