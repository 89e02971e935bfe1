/**
 * What a team writes without a hub: Fastify, the signature checked as Stripe says, one insert per request into a table
 * whose key is the event id, answered after its commit. `pg` with a named statement and a pool of 16.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { fastify } from 'fastify'
import { Pool } from 'pg'
import { SIGNING_SECRET } from './stripe-events.ts'

const pool = new Pool({ connectionString: process.argv[2], max: 16 })
await pool.query(
  `create table webhook_event (
     id text primary key, type text not null, body bytea not null, received_at timestamptz not null default now()
   )`,
)
const app = fastify()
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

app.post('/webhooks/stripe', async (request, reply) => {
  const raw = request.body as Buffer
  const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(request.headers['stripe-signature'])) ?? []
  if (t === undefined || v1 === undefined || Math.abs(Date.now() / 1_000 - Number(t)) > 300)
    return reply.code(401).send({ error: 'signature' })
  const expected = createHmac('sha256', SIGNING_SECRET).update(`${t}.`).update(raw).digest()
  if (!timingSafeEqual(expected, Buffer.from(v1, 'hex'))) return reply.code(401).send({ error: 'signature' })
  const { id, type } = JSON.parse(raw.toString('utf8')) as { id: string; type: string }
  const { rowCount } = await pool.query({
    name: 'insert',
    text: 'insert into webhook_event (id, type, body) values ($1, $2, $3) on conflict do nothing',
    values: [id, type, raw],
  })
  return { received: true, duplicate: rowCount === 0 }
})
process.once('disconnect', () => process.exit())
await app.listen({ host: '127.0.0.1', port: 0 })
process.send?.((app.server.address() as AddressInfo).port)
