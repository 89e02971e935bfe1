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

/** A frame around lines of text; wide characters are not expected in it. */
export function box(title: string, lines: readonly string[]): string {
  const width = Math.max(title.length + 2, ...lines.map((line) => line.length))
  const rule = (left: string, right: string, label = '') =>
    `${left}─${label}${'─'.repeat(width + 1 - label.length)}${right}`
  return [
    rule('┌', '┐', ` ${title} `),
    ...lines.map((line) => `│ ${line.padEnd(width)} │`),
    rule('└', '┘'),
  ].join('\n')
}
