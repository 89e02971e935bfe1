import { loadConfig } from '../config.ts'
import { systemClock } from '../platform/clock.ts'
import { createLog } from '../platform/log.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { openPlaneKeys, PLANES } from '../processes/operator-token.ts'
import { type Command, print } from './command.ts'

/** Rotation with overlap: the new key is published at once and signs when every process knows it. */
export const keys: Command = {
  name: 'keys',
  usage: 'keys rotate',
  summary: 'Make new signing keys for both planes; living tokens stay valid',
  run: async (args) => {
    if (args.join(' ') !== 'rotate') throw new StartRefused('Usage: orchestrator keys rotate')
    const config = loadConfig()
    for (const plane of PLANES) {
      const opened = await openPlaneKeys(config, plane, {
        clock: systemClock,
        log: createLog('keys', 'warn'),
      })
      const { kid, signsFrom } = await opened.rotate()
      opened.close()
      print(`${plane}: key ${kid} signs from ${signsFrom.toISOString()}`)
    }
    return 0
  },
}
