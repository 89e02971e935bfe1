/** A process with the limit of `POST /jobs`: Fastify that takes the same body and answers an id, and does nothing. */
import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { fastify } from 'fastify'

const app = fastify()
const text = { type: 'string' }
app.post(
  '/jobs',
  {
    schema: {
      body: { type: 'object', properties: { connector: text, operation: text, input: { type: 'object' } } },
      response: { 202: { type: 'object', properties: { job_id: text, status: text, input: {} } } },
    },
  },
  async (request, reply) => {
    const { input } = request.body as { input: unknown }
    return reply.code(202).send({ job_id: randomUUID(), status: 'queued', input })
  },
)
process.once('disconnect', () => process.exit())
await app.listen({ host: '127.0.0.1', port: 0 })
process.send?.((app.server.address() as AddressInfo).port)
