import type { Seeded } from './random.ts'

/** One thing to do, `at` ms after the load began. */
export type Action = { readonly at: number } & (
  | { readonly kind: 'kill' | 'stop'; readonly process: string; readonly backAfterMs: number }
  | { readonly kind: 'pause'; readonly process: string; readonly forMs: number }
  | { readonly kind: 'database_kill' | 'backend_kill' }
  | { readonly kind: 'reset' | 'cut'; readonly link: string }
  | { readonly kind: 'stall' | 'deaf' | 'refuse'; readonly link: string; readonly forMs: number }
)

export interface Stage {
  readonly workers: readonly string[]
  readonly execs: readonly string[]
  /** Name of the link through which every worker calls the sink. */
  readonly sinkLink: string
}

export const databaseLink = (process: string): string => `${process}>database`

/** A node that has not beaten for 15 s is dead, and others look every 5 s: longer than both. */
const BEYOND_LEASE_MS: readonly [number, number] = [17_000, 26_000]
/** Between two long absences of workers, so that somebody is left who works. */
const LONG_APART_MS = 22_000
/** The embedded database gives up after three ends within a minute: that limit is not what we test. */
const DATABASE_APART_MS = 24_000
const BACKEND_APART_MS = 9_000

const WEIGHTS = {
  kill_worker: 14,
  kill_exec: 8,
  stop: 5,
  pause: 8,
  short_pause: 6,
  database_kill: 6,
  backend_kill: 6,
  reset: 16,
  cut: 8,
  stall: 10,
  partition: 6,
  deaf: 12,
  refuse: 8,
}

/** The whole chaos of a run, decided before it begins: the same seed gives the same schedule. */
export function makeSchedule(random: Seeded, stage: Stage, durationMs: number): Action[] {
  const actions: Action[] = []
  const processes = [...stage.workers, ...stage.execs]
  const links = [...processes.map(databaseLink), stage.sinkLink]
  const lastAt = new Map<string, number>()
  /** Moves a kind that came too early to its next free time. */
  const apart = (what: string, at: number, ms: number): number => {
    const free = Math.max(at, (lastAt.get(what) ?? -Infinity) + ms)
    lastAt.set(what, free)
    return free
  }
  const absence = (at: number) => apart('absence', at, LONG_APART_MS)
  const beyondLease = () => random.whole(...BEYOND_LEASE_MS)

  const draw = (at: number): Action => {
    switch (random.weighted(WEIGHTS)) {
      case 'kill_worker':
        return { at, kind: 'kill', process: random.pick(stage.workers), backAfterMs: random.whole(0, 3_000) }
      case 'kill_exec':
        return { at, kind: 'kill', process: random.pick(stage.execs), backAfterMs: random.whole(0, 1_500) }
      case 'stop':
        return { at, kind: 'stop', process: random.pick(processes), backAfterMs: random.whole(0, 1_000) }
      case 'pause':
        return { at: absence(at), kind: 'pause', process: random.pick(stage.workers), forMs: beyondLease() }
      case 'short_pause':
        return { at, kind: 'pause', process: random.pick(processes), forMs: random.whole(300, 6_000) }
      case 'database_kill':
        return { at: apart('database', at, DATABASE_APART_MS), kind: 'database_kill' }
      case 'backend_kill':
        return { at: apart('backend', at, BACKEND_APART_MS), kind: 'backend_kill' }
      case 'reset':
        return { at, kind: 'reset', link: random.pick(links) }
      case 'cut':
        return { at, kind: 'cut', link: random.pick(links) }
      case 'stall':
        return { at, kind: 'stall', link: random.pick(links), forMs: random.whole(100, 4_000) }
      case 'partition': {
        const link = databaseLink(random.pick(stage.workers))
        return { at: absence(at), kind: random.pick(['stall', 'refuse']), link, forMs: beyondLease() }
      }
      case 'deaf':
        return { at, kind: 'deaf', link: random.pick(links), forMs: random.whole(50, 1_500) }
      case 'refuse':
        return { at, kind: 'refuse', link: random.pick(links), forMs: random.whole(100, 3_000) }
    }
  }

  for (let at = random.between(500, 1_500); at < durationMs; at += random.between(300, 2_400))
    actions.push(draw(Math.round(at)))
  return actions.filter(({ at }) => at < durationMs).sort((a, b) => a.at - b.at)
}
