import { Server as SecureServer } from 'node:tls'
import { localUrl } from '../config.ts'
import type { HttpServer } from '../platform/http/server.ts'
import { StartRefused } from '../platform/start-refused.ts'

/** Where a server listens, with the names of the settings that say so. */
export interface Place {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly hostVariable: string
  readonly portVariable: string
}

/** Listens and gives the URL. What the operator can mend becomes a message that names the setting. */
export async function listen(app: HttpServer, place: Place): Promise<string> {
  const { name, host, port, hostVariable, portVariable } = place
  try {
    await app.listen({ host, port })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE')
      throw new StartRefused(
        `Port ${port} (${name}) is taken by another program. Stop that program, or choose another port with ${portVariable}=…`,
        { cause: error },
      )
    if (code === 'EACCES')
      throw new StartRefused(
        `This user may not listen on port ${port} (${name}). Choose a port above 1023 with ${portVariable}=…`,
        { cause: error },
      )
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN')
      throw new StartRefused(
        `This machine has no address ${host}. Set ${hostVariable} to one of its own addresses.`,
        { cause: error },
      )
    throw error
  }
  return localUrl(host, port, (app.server as object) instanceof SecureServer)
}
