import type { Config } from '../../config.ts'
import { lookAtPort, type PortLook } from '../../processes/free-ports.ts'
import type { Finding } from './finding.ts'

const FAULTS: Partial<Record<PortLook, readonly [detail: string, mend: string]>> = {
  taken: ['needs it and another program has it', 'Stop that program, or set VARIABLE to a free port.'],
  forbidden: [
    'needs it and this user may not listen on it',
    'Set VARIABLE to a port above 1023, or start as a user who may.',
  ],
  'no such address': [
    'cannot listen: this machine has no address HOST',
    'Set HOST to one of the addresses of this machine.',
  ],
}

/** Each port of the address that the hub listens on is free, or a hub that runs already has it. */
export async function checkPorts({ host, ports }: Pick<Config, 'host' | 'ports'>): Promise<Finding[]> {
  return Promise.all(
    Object.entries(ports).map(async ([process, port]): Promise<Finding> => {
      const name = `port ${port}`
      const look = await lookAtPort(host, port)
      if (look === 'hub') return { name, ok: true, detail: `a hub runs there (${process})` }
      const fault = FAULTS[look]
      if (!fault) return { name, ok: true, detail: `free for ${process}` }
      const [detail, mend] = fault
      return {
        name,
        ok: false,
        detail: `${process} ${detail.replace('HOST', host)}`,
        mend: mend.replace('VARIABLE', `${process.toUpperCase()}_PORT`),
      }
    }),
  )
}
