/** `npm run torture -- [--minutes N] [--seed S] [--check FOLDER]`: one run, its report, exit code 1 for any fault. */
import { randomInt } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { check } from './checker.ts'
import type { History } from './history.ts'
import { REPOSITORY } from './own-process.ts'
import { repeatCommand, reportOf } from './report.ts'
import { readHistory, torture } from './torture.ts'

const print = (line: string) => process.stdout.write(`${line}\n`)

async function record(seed: number, seconds: number, folder: string): Promise<History> {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => interrupted.abort(new Error(`${signal}: the run was ended before its end`)))
  const began = Date.now()
  const say = (line: string) => print(`${((Date.now() - began) / 1_000).toFixed(1).padStart(7)} s  ${line}`)
  print(`seed ${seed}; again: ${repeatCommand({ seed, seconds })}`)
  return torture({ seed, seconds, folder, say, signal: interrupted.signal })
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { minutes: { type: 'string' }, seed: { type: 'string' }, check: { type: 'string' } },
  })
  const minutes = Number(values.minutes ?? '3')
  const seed = Number(values.seed ?? randomInt(1_000_000))
  if (!(minutes > 0) || !Number.isInteger(seed) || seed < 0) {
    print('Usage: npm run torture -- [--minutes N] [--seed S] [--check FOLDER]')
    return 2
  }
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '')
  const folder = values.check ?? join(import.meta.dirname, 'results', `${stamp}-seed-${seed}`)
  await mkdir(folder, { recursive: true })
  const history = values.check ? await readHistory(folder) : await record(seed, minutes * 60, folder)
  const verdict = check(history)
  const report = reportOf(verdict)
  await writeFile(join(folder, 'report.json'), JSON.stringify(verdict, null, 2))
  await writeFile(join(folder, 'report.md'), report)
  print(`\n${report}`)
  print(`The history, the logs and this report are in ${relative(REPOSITORY, folder)}.`)
  return verdict.sound ? 0 : 1
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    print(error instanceof Error ? (error.stack ?? error.message) : String(error))
    process.exit(1)
  },
)
