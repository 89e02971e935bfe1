/**
 * One run: starts the hub as real processes on a Postgres of its own, loads it, hurts it by the schedule of the seed,
 * heals everything, lets it drain, and leaves the recorded history in a folder.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Chaos, createChaos } from './chaos.ts'
import { type Database, startDatabase } from './database.ts'
import { drain } from './drain.ts'
import type { History, SinkRequest } from './history.ts'
import { freePort, type HubProcess, startHubProcess } from './hub-process.ts'
import { watchHub } from './hub-watch.ts'
import { type Link, openLink } from './link.ts'
import { type Load, startLoad } from './load.ts'
import { type OwnProcess, REPOSITORY, startOwn } from './own-process.ts'
import { seeded } from './random.ts'
import { readTables } from './read-tables.ts'
import { staleRefusals } from './refusals.ts'
import { type Action, databaseLink, makeSchedule, type Stage } from './schedule.ts'
import { readSink } from './sink-record.ts'
import { hubEnvironment, makeWorld } from './world.ts'

export interface TortureOptions {
  readonly seed: number
  /** How long load and chaos last; starting, draining and checking come on top. */
  readonly seconds: number
  /** An existing folder for the history and the logs. */
  readonly folder: string
  readonly workers?: number
  readonly execs?: number
  readonly ratePerSecond?: number
  readonly workMs?: { readonly usual: readonly [number, number]; readonly long: readonly [number, number] }
  readonly longShare?: number
  /** Instead of the chaos that the seed gives. */
  readonly play?: (scene: Scene) => Promise<void>
  /** See `ChaosOptions.hurried`. */
  readonly hurried?: boolean
  /** After this time what is not done counts as stuck. */
  readonly drainSeconds?: number
  /** Modules that are loaded before the hub, by role: for planted bugs. */
  readonly preload?: Readonly<Partial<Record<'exec' | 'worker', string>>>
  /** Before the load, on the migrated database. */
  readonly prepare?: (database: Database) => Promise<void>
  readonly say?: (line: string) => void
  /** Ends the run early and in order: the history is not written then. */
  readonly signal?: AbortSignal
}

/** What a schedule of a test may use. */
export interface Scene {
  readonly chaos: Chaos
  readonly database: Database
  readonly links: ReadonlyMap<string, Link>
  readonly processes: ReadonlyMap<string, HubProcess>
  readonly load: Load
  /** What the sink has seen so far. */
  requests(): Promise<SinkRequest[]>
  /** Settlements that a worker was refused so far. */
  refusals(worker: string): Promise<number>
}

export const SINK_LINK = 'workers>sink'
const WORK_MS = { usual: [5, 150], long: [400, 2_500] } as const
const CLI = join(REPOSITORY, 'server/bin/orchestrator.js')

/** Names of the processes of a run. */
export const stageOf = (workers: number, execs: number): Stage => ({
  workers: Array.from({ length: workers }, (_, at) => `worker-${at + 1}`),
  execs: Array.from({ length: execs }, (_, at) => `exec-${at + 1}`),
  sinkLink: SINK_LINK,
})

/** Does one run. Everything it starts has ended when it resolves or rejects; `folder` has the history then. */
export async function torture(options: TortureOptions): Promise<History> {
  const say = options.say ?? (() => undefined)
  const home = await mkdtemp(join(tmpdir(), 'orchestrator-torture-'))
  const endings: (() => Promise<unknown>)[] = []
  try {
    return await run(options, home, say, endings)
  } finally {
    for (const end of endings.reverse()) await end()
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function run(
  options: TortureOptions,
  home: string,
  say: (line: string) => void,
  endings: (() => Promise<unknown>)[],
): Promise<History> {
  const { seed, seconds, folder, signal } = options
  const random = seeded(seed)
  const stage = stageOf(options.workers ?? 3, options.execs ?? 2)
  const schedule = makeSchedule(random, stage, seconds * 1_000)
  await mkdir(folder, { recursive: true })

  say(`starting the database, the sink and the hub in ${home}`)
  const database = await startDatabase(home)
  endings.push(() => database.stop())
  const sinkFile = join(folder, 'sink.jsonl')
  const sink = startOwn({ args: [join(import.meta.dirname, 'sink.ts'), sinkFile] })
  endings.push(() => sink.close())
  const { port: sinkPort } = await sink.nextLine<{ port: number }>()
  await runCli(hubEnvironment(home, database.urlAt(database.port)), 'migrate', join(folder, 'migrate.log'))
  await options.prepare?.(database)

  const links = new Map<string, Link>([[SINK_LINK, await openLink(() => sinkPort)]])
  for (const name of [...stage.workers, ...stage.execs])
    links.set(databaseLink(name), await openLink(() => database.port))
  endings.push(() => Promise.all([...links.values()].map((link) => link.close())))

  const processes = new Map<string, HubProcess>()
  const chaos = createChaos({ processes, links, database, hurried: options.hurried ?? false, say })
  const begun: HubProcess[] = []
  endings.push(() => Promise.all(begun.map((process) => process.end())))
  endings.push(async () => chaos.end())
  const begin = async (name: string, role: 'exec' | 'worker' | 'control'): Promise<HubProcess> => {
    const databasePort = links.get(databaseLink(name))?.port ?? database.port
    const process = startHubProcess({
      ...{ name, role, port: await freePort(), logFile: join(folder, `${name}.log`) },
      env: hubEnvironment(home, database.urlAt(databasePort)),
      preload: role === 'control' ? undefined : options.preload?.[role],
      crashed: chaos.crashed,
    })
    begun.push(process)
    return process
  }
  const control = await begin('control', 'control')
  for (const name of stage.execs) processes.set(name, await begin(name, 'exec'))
  for (const name of stage.workers) processes.set(name, await begin(name, 'worker'))
  await control.ready()
  const world = await makeWorld({
    ...{ database, home, controlUrl: control.url, sinkPort: links.get(SINK_LINK)?.port ?? 0 },
    env: hubEnvironment(home, database.urlAt(database.port)),
  })
  // Nothing of a run needs it any more.
  void control.end()
  for (const process of processes.values()) await process.ready()
  signal?.throwIfAborted()

  say(`load for ${seconds} s, ${schedule.length} troubles, seed ${seed}`)
  const load = startLoad({
    random,
    ratePerSecond: options.ratePerSecond ?? 30,
    tenants: world.tenants,
    execUrls: stage.execs.map((name) => processes.get(name)?.url ?? ''),
    workMs: options.workMs ?? WORK_MS,
    longShare: options.longShare ?? 0.08,
  })
  endings.push(() => load.stop(0))
  const watch = watchHub(database)
  endings.push(() => watch.stop())
  const logsOf = (names: readonly string[]) => names.map((name) => join(folder, `${name}.log`))
  const scene: Scene = {
    ...{ chaos, database, links, processes, load },
    requests: () => readSink(sinkFile),
    refusals: (worker) => staleRefusals(logsOf([worker])),
  }
  const playing = options.play?.(scene) ?? chaos.play(schedule)
  await waitOrAbort(Promise.all([sleep(seconds * 1_000), playing]), signal)

  say('everything is healed; clients get their last answers, the hub drains')
  await waitOrAbort(load.stop(), signal)
  await waitOrAbort(drain(database, (options.drainSeconds ?? 120) * 1_000, say), signal)

  const tables = await readTables(database)
  const history: History = {
    ...{ seed, seconds, sends: load.sends, requests: await readSink(sinkFile), troubles: chaos.troubles },
    ...(await watch.stop()),
    ...{ caps: world.caps, tables, hurried: options.hurried ?? false },
    staleRefused: await staleRefusals(logsOf(stage.workers)),
  }
  await writeFile(join(folder, 'history.json'), JSON.stringify(history))
  await writeFile(join(folder, 'schedule.json'), JSON.stringify(schedule satisfies Action[], null, 1))
  return history
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

function waitOrAbort(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<unknown> {
  if (!signal) return work
  const aborted = new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
  )
  // The one that loses settles later, when nobody listens any more.
  for (const promise of [work, aborted]) promise.catch(() => undefined)
  return Promise.race([work, aborted])
}

async function runCli(
  env: Readonly<Record<string, string>>,
  command: string,
  logFile: string,
): Promise<void> {
  const cli: OwnProcess = startOwn({ args: [CLI, command], env, logFile })
  const code = await cli.ended
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${await readFile(logFile, 'utf8')}`)
}

/** A history that was recorded earlier. */
export const readHistory = async (folder: string): Promise<History> =>
  JSON.parse(await readFile(join(folder, 'history.json'), 'utf8')) as History
