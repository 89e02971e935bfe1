/** One subcommand of the CLI. `run` gives the exit code; it throws what a person has to be told. */
export interface Command {
  readonly name: string
  /** With its arguments, as in the list of commands. */
  readonly usage: string
  readonly summary: string
  run(args: readonly string[]): Promise<number>
}

export const print = (text: string): boolean => process.stdout.write(`${text}\n`)

export const printError = (text: string): boolean => process.stderr.write(`${text}\n`)

const WIDTH = 100

/** Lines between two rules. Open at the sides, so that what stands inside can be copied as it is. */
export function box(title: string, lines: readonly string[]): string {
  const head = `── ${title} `
  return [head.padEnd(WIDTH, '─'), ...lines, '─'.repeat(WIDTH)].join('\n')
}
