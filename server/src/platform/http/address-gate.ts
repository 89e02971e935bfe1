import { Problem } from '../../problems.ts'
import { isInNetworks } from '../networks.ts'
import type { HttpServer } from './http-server.ts'

/** Answers only callers from these networks, on every path, before anything else of the request is looked at. */
export function addAddressGate(app: HttpServer, networks: readonly string[]): void {
  const isInside = isInNetworks(networks)
  app.addHook('onRequest', (request, _reply, done) => {
    if (isInside(request.ip)) done()
    else done(new Problem('forbidden', 'This listener is not open to the address of the caller.'))
  })
}
