/** A process that takes `POST /<number>` and counts the numbers; `GET /` gives the counts. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const seen = new Set<string>()
let received = 0

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.end(JSON.stringify({ received, distinct: seen.size }))
    return
  }
  received += 1
  seen.add(request.url ?? '')
  request.resume().once('end', () => {
    response.setHeader('content-type', 'application/json')
    response.end('{"ok":true}')
  })
})

server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
process.once('disconnect', () => process.exit())
