import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Case, Scale } from './cases/case.ts'
import { CASES } from './cases/cases.ts'
import { removeLeftovers } from './leftovers.ts'
import { machineFacts, versionFacts } from './machine.ts'
import { killMeasurements, type Measured, measureOnce } from './one-measurement.ts'
import { findRedisServer } from './redis.ts'
import { type CaseResult, caseSection, number, type RunFacts, reportOf } from './report.ts'
import { ALL_SIDES, loadSide, REDIS_SIDES } from './sides/sides.ts'
import { startWorld, type World } from './world.ts'

export interface BenchOptions {
  readonly only: readonly string[] | undefined
  readonly sides: readonly string[] | undefined
  readonly scale: Scale
  readonly rounds: number
  readonly profile: boolean
}

const RESULTS = join(import.meta.dirname, 'results')
const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** Runs the chosen cases and writes `results/`. Gives the exit code: 1 when a measurement failed. */
export async function bench(options: BenchOptions): Promise<number> {
  const cases = options.only ? CASES.filter(({ id }) => options.only?.includes(id)) : CASES
  const unknown = options.only?.filter((id) => !CASES.some((known) => known.id === id)) ?? []
  if (unknown.length > 0) {
    say(
      `There is no case ${unknown.join(', ')}. There are: ${CASES.map(({ id, title }) => `\n  ${id}  ${title}`).join('')}`,
    )
    return 1
  }
  await removeLeftovers()
  const redisServer = await findRedisServer()
  const missing = redisServer
    ? []
    : [
        `no redis-server on this machine (REDIS_SERVER or PATH): the rows ${REDIS_SIDES.join(' and ')} are not measured`,
      ]
  for (const what of missing) say(`\n*** MISSING: ${what} ***\n`)
  const world = await startWorld({ redisServer, statementTimes: options.profile })
  const interrupted = onInterrupt(world)
  try {
    const facts = await factsOf(options, world, missing)
    const results: CaseResult[] = []
    for (const of of cases) results.push(await runCase(world, of, options))
    const path = await write(facts, results)
    say(`\nWritten: ${path}.md and .json`)
    return results.some(({ measured }) => measured.some(({ problems }) => problems.length > 0)) ? 1 : 0
  } finally {
    interrupted.off()
    await world.close()
  }
}

async function runCase(world: World, of: Case, options: BenchOptions): Promise<CaseResult> {
  const participants = of.participants
    .filter((name) => !options.sides || options.sides.includes(name))
    .filter((name) => world.redis || !(REDIS_SIDES as readonly string[]).includes(name))
  const measured: Measured[] = []
  say(`\n(${of.id}) ${of.title}`)
  for (let round = 1; round <= options.rounds; round += 1)
    for (const participant of round % 2 === 1 ? participants : participants.toReversed()) {
      const { scale, profile } = options
      const one = await measureOnce(world, { of, participant, round, scale, profile })
      measured.push(one)
      say(`  ${round}  ${participant.padEnd(18)} ${summary(of, one)}`)
    }
  const result = { of, measured }
  say(`\n${caseSection(result)}`)
  return result
}

function summary(of: Case, { metrics, problems, foreignCores }: Measured): string {
  if (problems.length > 0) return `FAILED: ${problems.join('; ')}`
  const values = of.metrics.flatMap(({ key, title, unit }) => {
    const value = metrics[key]
    return value === undefined ? [] : [`${title} ${number(value)} ${unit}`]
  })
  return `${values.join('   ')}${foreignCores > 0.2 ? `   (noise ${foreignCores.toFixed(1)} cores)` : ''}`
}

async function factsOf(options: BenchOptions, world: World, missing: readonly string[]): Promise<RunFacts> {
  const configurations: Record<string, string> = {}
  for (const name of ALL_SIDES) configurations[name] = (await loadSide(name)).configuration
  const { commit, ...versions } = await versionFacts()
  return {
    startedAt: new Date().toISOString(),
    commit: commit ?? 'unknown',
    scale: options.scale,
    rounds: options.rounds,
    machine: await machineFacts(),
    postgres: world.settings,
    versions,
    configurations,
    missing,
  }
}

async function write(facts: RunFacts, results: readonly CaseResult[]): Promise<string> {
  await mkdir(RESULTS, { recursive: true })
  const path = join(RESULTS, facts.startedAt.replaceAll(':', '').slice(0, 17))
  const plain = results.map(({ of, measured }) => ({
    case: of.id,
    title: of.title,
    metrics: of.metrics,
    measured,
  }))
  await writeFile(`${path}.json`, `${JSON.stringify({ ...facts, results: plain }, undefined, 2)}\n`)
  await writeFile(`${path}.md`, reportOf(facts, results))
  return path
}

/** Ctrl-C ends the measurement that runs, then the servers, and leaves no folder behind. */
function onInterrupt(world: World): { off(): void } {
  const end = (): void => {
    killMeasurements()
    void world.close().finally(() => process.exit(130))
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end)
  process.once('exit', killMeasurements)
  return {
    off: () => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end)
    },
  }
}
