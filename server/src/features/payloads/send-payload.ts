import type { FastifyReply } from 'fastify'
import { Problem } from '../../problems.ts'
import { fileName, type Payloads } from './payloads.ts'

/** The same for a payload that is not there and for one of another workspace. */
export const payloadNotFound = (): Problem =>
  new Problem('not_found', 'There is no such payload in this workspace.')

/**
 * Answers with the bytes, as a file and never as what they call themselves. Errors: `not_found`, `payload_gone`,
 * `payload_damaged`, `payload_store_unavailable`.
 */
export async function sendPayload(
  reply: FastifyReply,
  payloads: Pick<Payloads, 'find' | 'read'>,
  tenantId: string,
  id: string,
): Promise<FastifyReply> {
  const payload = await payloads.find(tenantId, id)
  if (!payload) throw payloadNotFound()
  const bytes = await payloads.read(tenantId, id)
  return reply
    .header('content-type', 'application/octet-stream')
    .header('content-disposition', `attachment; filename="${fileName(id)}"`)
    .header('x-content-type-options', 'nosniff')
    .header('cache-control', 'private, no-store')
    .header('repr-digest', `sha-256=:${Buffer.from(payload.sha256, 'hex').toString('base64')}:`)
    .send(bytes)
}
