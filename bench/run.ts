/** `npm run bench`: measures our queue side by side with others and with the limits of the machine. */
import { parseArgs } from 'node:util'
import { ensureInstalled } from './install.ts'

const USAGE = `Usage: npm run bench -- [--only a,c] [--rounds N] [--quick] [--sides ours,pg-boss]

  --only     cases, by their letters; all without it
  --rounds   how often every participant of a case is measured (5; with --quick 2)
  --quick    small counts and short times: to see that everything works, not to quote
  --sides    participants; all without it
  --profile  also writes CPU profiles and the server's statement times (slower: do not quote the numbers)
`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean' },
      sides: { type: 'string' },
      profile: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  if (!(await ensureInstalled())) return 1
  // Loaded only now: it needs the packages that the line above brings.
  const { bench } = await import('./bench.ts')
  const list = (text: string | undefined) => text?.split(',').map((part) => part.trim())
  const rounds = values.rounds === undefined ? (values.quick ? 2 : 5) : Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 50) {
    process.stderr.write('--rounds takes a whole number from 1 to 50.\n')
    return 1
  }
  return bench({
    only: list(values.only),
    sides: list(values.sides),
    scale: values.quick ? 'quick' : 'full',
    rounds,
    profile: values.profile ?? false,
  })
}

process.exitCode = await main()
