/**
 * A process with the limit of `POST /execute`: Fastify that takes the same body, sends its input on with undici and
 * answers what came back. No token, no policy, no log.
 */
import type { AddressInfo } from 'node:net'
import { fastify } from 'fastify'
import { Pool } from 'undici'

const upstream = new Pool(`http://127.0.0.1:${process.argv[2]}`, { connections: 256 })
const app = fastify()
const text = { type: 'string' }
app.post(
  '/execute',
  {
    schema: {
      body: { type: 'object', properties: { connector: text, operation: text, input: { type: 'object' } } },
    },
  },
  async (request, reply) => {
    const { input } = request.body as { input: unknown }
    const { statusCode, body } = await upstream.request({
      method: 'POST',
      path: '/messages',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify(input),
    })
    const output = await body.json()
    return reply.code(statusCode).send({ status: 'ok', output, upstream: { http_status: statusCode } })
  },
)
process.once('disconnect', () => process.exit())
await app.listen({ host: '127.0.0.1', port: 0 })
process.send?.((app.server.address() as AddressInfo).port)
