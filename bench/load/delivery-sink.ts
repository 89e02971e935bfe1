/** A process that plays the product: takes signed deliveries and counts their `webhook-id`s; `GET /` gives the counts. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const seen = new Set<string>()
let received = 0
let bytes = 0

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.end(JSON.stringify({ received, distinct: seen.size, bytes }))
    return
  }
  received += 1
  seen.add(String(request.headers['webhook-id']))
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  request.once('end', () => {
    response.setHeader('content-length', 0)
    response.end()
  })
})
// Connections are kept as long as a measurement lasts: opening them anew is not what is measured.
server.keepAliveTimeout = 120_000

server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
process.once('disconnect', () => process.exit())
