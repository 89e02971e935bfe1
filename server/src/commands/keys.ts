import { loadConfig } from '../config.ts'
import { systemClock } from '../platform/clock.ts'
import { createLog } from '../platform/log.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { openAuditKeys } from '../processes/audit.ts'
import { openPlaneKeys, PLANES } from '../processes/operator-token.ts'
import { type Command, print } from './command.ts'

/** Rotation with overlap: the new key is published at once and signs when every process knows it. */
export const keys: Command = {
  name: 'keys',
  usage: 'keys rotate',
  summary: 'Make new signing keys for both planes and for audit checkpoints; living tokens stay valid',
  run: async (args) => {
    if (args.join(' ') !== 'rotate') throw new StartRefused('Usage: orchestrator keys rotate')
    const config = loadConfig()
    const on = { clock: systemClock, log: createLog('keys', 'warn') }
    for (const [name, open] of [
      ...PLANES.map((plane) => [plane, () => openPlaneKeys(config, plane, on)] as const),
      // Checkpoints of the audit log: former keys go on proving what they signed.
      ['audit', () => openAuditKeys(config, on)] as const,
    ]) {
      const opened = await open()
      const { kid, signsFrom } = await opened.rotate()
      opened.close()
      print(`${name}: key ${kid} signs from ${signsFrom.toISOString()}`)
    }
    return 0
  },
}
