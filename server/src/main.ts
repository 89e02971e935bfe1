/** The CLI: finds the command, runs it, turns what it throws into one message and an exit code. */

import { ApiError, sentenceOf } from './commands/api.ts'
import { audit } from './commands/audit.ts'
import { bundle } from './commands/bundle.ts'
import type { Command } from './commands/command.ts'
import { print, printError } from './commands/command.ts'
import { demo } from './commands/demo.ts'
import { doctor } from './commands/doctor.ts'
import { keys } from './commands/keys.ts'
import { migrateCommand } from './commands/migrate.ts'
import { onboard } from './commands/onboard.ts'
import { operator } from './commands/operator.ts'
import { retention } from './commands/retention.ts'
import { secrets } from './commands/secrets.ts'
import { start } from './commands/start.ts'
import { token } from './commands/token.ts'
import { trigger } from './commands/trigger.ts'
import { workspace } from './commands/workspace.ts'
import { ConfigError } from './config.ts'
import { StartRefused } from './platform/start-refused.ts'
import { Problem } from './problems.ts'

const COMMANDS: readonly Command[] = [
  start,
  migrateCommand,
  workspace,
  operator,
  demo,
  trigger,
  token,
  keys,
  secrets,
  retention,
  doctor,
  onboard,
  bundle,
  audit,
]

function usage(): string {
  return [
    'Usage: npx orchestrator <command>',
    '',
    ...COMMANDS.flatMap(({ usage: line, summary }) => [`  ${line}`, `      ${summary}`]),
    '',
    'Settings come from environment variables: docs/configuration.md lists them.',
  ].join('\n')
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    print(usage())
    return name === undefined ? 1 : 0
  }
  const command = COMMANDS.find((candidate) => candidate.name === name)
  if (!command) {
    printError(`There is no command ${JSON.stringify(name)}.\n\n${usage()}`)
    return 1
  }
  if (args.includes('--help') || args.includes('-h')) {
    print(`Usage: npx orchestrator ${command.usage}\n\n${command.summary}`)
    return 0
  }
  return command.run(args)
}

/** What a person can mend is told without a stack; everything else is a bug and shows where it is. */
function explain(error: unknown): string {
  if (error instanceof StartRefused || error instanceof ConfigError) return error.message
  if (error instanceof Problem) return `${error.message} (${error.code})`
  if (error instanceof ApiError) return sentenceOf(error)
  // Commands answer for the files that they are given: what is left are those of the settings.
  const { code, syscall, path } = (error ?? {}) as NodeJS.ErrnoException
  if (error instanceof Error && syscall !== undefined && path !== undefined)
    return `A file or folder cannot be used: ${error.message}. DATA_DIR, KEYS_DIR, SECRETS_DIR and LOG_FILE say where they are.`
  if (error instanceof TypeError && typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))
    return `${error.message}\n\n${usage()}`
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  printError(explain(error))
  // A start that failed half-way may hold connections and timers; they must not keep this process.
  process.exit(1)
}
