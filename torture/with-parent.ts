/**
 * Preloaded (`node --import`) into every process of a run, before the program itself. The process ends at once when
 * its parent does, however that happened: its standard input is a pipe from the parent. And a hub process tells its
 * name as its host, so that its row in `node` says which process it was.
 */
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'

for (const event of ['end', 'close', 'error'] as const)
  process.stdin.on(event, () => process.kill(process.pid, 'SIGKILL'))
process.stdin.resume()
// A program that has nothing more to do ends by itself.
process.stdin.unref()

const name = process.env.TORTURE_NAME
if (name !== undefined) {
  os.hostname = () => name
  syncBuiltinESMExports()
}
