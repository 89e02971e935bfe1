import { type DestinationStream, destination } from 'pino'

/** A busy turn writes when it has gathered so many characters. */
const ENOUGH = 16_384

/**
 * Writes log lines to a file or a descriptor (1 = standard output), those of one turn of the event loop together:
 * one write for each line is the largest single cost of a short request. Synchronous at the end of the turn and at
 * the exit of the process, so that the lines before a crash are there; only a `kill -9` in the middle of a turn takes
 * the lines of that turn with it.
 */
export function logLines(to: { readonly dest: string | number; readonly mode?: number }): DestinationStream {
  const stream = destination({ ...to, sync: true })
  let gathered = ''
  let scheduled = false
  const flush = (): void => {
    scheduled = false
    const text = gathered
    gathered = ''
    if (text !== '') stream.write(text)
  }
  process.on('exit', flush)
  return {
    write: (line) => {
      gathered += line
      if (gathered.length >= ENOUGH) flush()
      else if (!scheduled) {
        scheduled = true
        setImmediate(flush)
      }
    },
  }
}
