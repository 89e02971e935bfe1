/** A process that plays the provider: takes any POST, counts it, and answers some JSON at once. `GET /` gives the count. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const ANSWER = JSON.stringify({
  id: 'msg_0000000000000001',
  status: 'accepted',
  to: '+491700000000',
  segments: 2,
  note: 'x'.repeat(200),
})
let received = 0

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.end(JSON.stringify({ received }))
    return
  }
  received += 1
  request.resume().once('end', () => {
    response.setHeader('content-type', 'application/json')
    response.setHeader('content-length', Buffer.byteLength(ANSWER))
    response.end(ANSWER)
  })
})
// Connections are kept as long as a measurement lasts: opening them anew is not what is measured.
server.keepAliveTimeout = 120_000

server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
process.once('disconnect', () => process.exit())
