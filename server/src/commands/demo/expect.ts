import { print } from '../command.ts'

/** Something that the demo promised did not happen. */
export class DemoFailed extends Error {
  override readonly name = 'DemoFailed'
}

/** Prints what has been shown, or ends the demo saying what was seen instead. */
export function shown(what: string, happened: boolean, seen?: unknown): void {
  if (!happened)
    throw new DemoFailed(
      `NOT shown: ${what}${seen === undefined ? '' : `\nSeen: ${JSON.stringify(seen, null, 2)}`}`,
    )
  print(`  ok  ${what}`)
}
