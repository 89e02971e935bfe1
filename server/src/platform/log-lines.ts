import { type DestinationStream, destination } from 'pino'

/** A busy turn writes when it has gathered so much. Bytes; sonic-boom writes at most 16 KiB at once. */
const ENOUGH = 16_000

/**
 * Writes log lines to a file or a descriptor (1 = standard output), those of one turn of the event loop together:
 * one write for each line is the largest single cost of a short request. Synchronous at the end of the turn and at
 * the exit of the process, so that the lines before a crash are there; only a `kill -9` in the middle of a turn takes
 * the lines of that turn with it.
 */
export function logLines(to: { readonly dest: string | number; readonly mode?: number }): DestinationStream {
  const stream = destination({ ...to, sync: true, minLength: ENOUGH })
  let scheduled = false
  const flush = (): void => {
    scheduled = false
    stream.flushSync()
  }
  process.on('exit', flush)
  return {
    write: (line) => {
      stream.write(line)
      if (scheduled) return
      scheduled = true
      setImmediate(flush)
    },
  }
}
