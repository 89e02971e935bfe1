import { fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Case, Sample, Scale } from './cases/case.ts'
import type { Request } from './measure.ts'
import { cpuProfile, resetStatementTimes, writeStatementTimes } from './profile.ts'
import { type Quiet, waitForQuiet } from './quiet.ts'
import type { World } from './world.ts'

export interface Measured extends Sample {
  readonly participant: string
  readonly round: number
  /** Cores that strangers used before and after the measurement, the larger. */
  readonly foreignCores: number
}

/** Process groups that run now: ended when the bench is interrupted. */
const groups = new Set<number>()

export function killMeasurements(): void {
  for (const pid of groups) kill(pid)
}

function kill(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended already.
  }
}

/** Makes one measurement on a fresh database in a process of its own, which cannot outlive its limit. */
export async function measureOnce(
  world: World,
  what: {
    readonly of: Case
    readonly participant: string
    readonly round: number
    readonly scale: Scale
    readonly profile: boolean
  },
): Promise<Measured> {
  const { of, participant, round, scale, profile } = what
  const name = `${of.id}-${participant}-${round}`
  const folder = await mkdtemp(join(world.folder, 'run-'))
  const database = await world.freshDatabase(participant.startsWith('ours'))
  const before: Quiet = await waitForQuiet(world.pids(), scale === 'quick' ? 4_000 : 20_000)
  const { databaseUrl, adminUrl } = database
  try {
    if (profile) await resetStatementTimes(adminUrl)
    const sample = await inOwnProcess(
      {
        caseId: of.id,
        participant,
        scale,
        databaseUrl,
        adminUrl,
        redis: world.redis,
        serverPids: world.serverPids(participant),
        nodeArgs: profile ? cpuProfile(`${name}-server`) : [],
        folder,
      },
      of.limitMs[scale],
      profile ? cpuProfile(name) : [],
    )
    if (profile) await writeStatementTimes(adminUrl, name)
    const after = await waitForQuiet(world.pids(), 0)
    return { ...sample, participant, round, foreignCores: Math.max(before.foreignCores, after.foreignCores) }
  } finally {
    await database.drop()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function inOwnProcess(request: Request, limitMs: number, nodeArgs: readonly string[]): Promise<Sample> {
  const child = fork(join(import.meta.dirname, 'measure.ts'), [JSON.stringify(request)], {
    // A group of its own, so that its own children end with it.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    execArgv: ['--disable-warning=ExperimentalWarning', ...nodeArgs],
  })
  const { pid } = child
  if (pid !== undefined) groups.add(pid)
  const failed = (problem: string): Sample => ({ metrics: {}, problems: [problem] })
  return new Promise<Sample>((resolve) => {
    const timer = setTimeout(() => resolve(failed(`not finished after ${limitMs / 1_000} s`)), limitMs)
    child.once('message', (sample) => resolve(sample as Sample))
    child.once('error', (error) => resolve(failed(error.message)))
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      resolve(failed(`the measuring process ended with ${code ?? signal}`))
    })
  }).finally(async () => {
    if (pid === undefined) return
    const gone = child.exitCode === null && child.signalCode === null ? onceGone(child) : undefined
    // It exits by itself after its answer; what it started may not have.
    const patience = setTimeout(() => kill(pid), 2_000)
    await gone
    clearTimeout(patience)
    kill(pid)
    groups.delete(pid)
  })
}

const onceGone = (child: ReturnType<typeof fork>): Promise<void> =>
  new Promise((resolve) => child.once('exit', () => resolve()))
