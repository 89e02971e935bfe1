import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from './database.ts'
import type { Disturbance, Trouble } from './history.ts'
import type { HubProcess } from './hub-process.ts'
import type { Link } from './link.ts'
import type { Action } from './schedule.ts'

export interface ChaosOptions {
  readonly processes: ReadonlyMap<string, HubProcess>
  readonly links: ReadonlyMap<string, Link>
  readonly database: Database
  /** Killed workers are declared dead at once, so that a short run sees the rescue of their jobs. */
  readonly hurried: boolean
  /** Tells what happens, while it happens. */
  say(line: string): void
}

export interface Chaos {
  /** What was done so far; an action that still goes on is not in it. */
  readonly troubles: readonly Trouble[]
  /** Does one thing; resolves when it is over. */
  act(action: Action): Promise<void>
  /** Does everything at its time; resolves when the last is over. */
  play(actions: readonly Action[]): Promise<void>
  /** Holds a link in a mode, or a process in a pause, until `over` resolves: for what no schedule can time. */
  hold(mode: 'stall' | 'deaf' | 'refuse' | 'pause', target: string, over: () => Promise<void>): Promise<void>
  /** Sets the last beats of a worker back by a minute: to the others it is dead from now on, until it beats again. */
  declareDead(process: string): Promise<void>
  /** Begins nothing more; `play` rejects. */
  end(): void
  /** A process ended without our doing. */
  crashed(process: string): void
}

const LOOK_MS = 50

const named = <Thing>(things: ReadonlyMap<string, Thing>, name: string): Thing => {
  const thing = things.get(name)
  if (thing === undefined) throw new Error(`there is no ${name}`)
  return thing
}

export function createChaos(options: ChaosOptions): Chaos {
  const { processes, links, database } = options
  const troubles: Trouble[] = []
  const over = new AbortController()

  const note = async (kind: Disturbance, target: string, work: () => unknown): Promise<void> => {
    const from = Date.now()
    options.say(`${kind} ${target}`)
    await work()
    troubles.push({ kind, target, from, to: Date.now() })
  }

  /** Only those that began before `startedBefore`: the process may be there again when the statement runs. */
  const declareDead = async (process: string, startedBefore = Date.now()): Promise<void> => {
    await database.query(
      `update node set beat_at = least(beat_at, clock_timestamp() - interval '1 minute')
       where host = $1 and started_at < to_timestamp($2::float8 / 1000)`,
      [process, startedBefore],
    )
  }

  const hold: Chaos['hold'] = async (mode, name, over) => {
    if (mode === 'pause') return note('pause', name, () => named(processes, name).pause(over))
    const link = named(links, name)
    // Two at once on one link: the later one has to wait for its turn, or it would end with the first.
    while (link.mode !== 'open') await delay(LOOK_MS)
    await note(mode, name, async () => {
      link.turn(mode)
      await over().finally(() => link.turn('open'))
    })
  }

  const act = (action: Action): Promise<void> => {
    switch (action.kind) {
      case 'kill':
      case 'stop': {
        const { kind, process, backAfterMs } = action
        return note(kind, process, async () => {
          const killedAt = Date.now()
          const back = named(processes, process)[kind](backAfterMs)
          if (options.hurried && kind === 'kill') await declareDead(process, killedAt)
          await back
        })
      }
      case 'pause':
        return hold('pause', action.process, () => delay(action.forMs))
      case 'database_kill':
        return note('database_kill', 'database', () => database.kill())
      case 'backend_kill':
        return note('backend_kill', 'database', () => database.killBackend())
      case 'reset':
      case 'cut': {
        const { kind, link } = action
        return note(kind, link, () => named(links, link)[kind]())
      }
      default:
        return hold(action.kind, action.link, () => delay(action.forMs))
    }
  }

  return {
    troubles,
    act,
    hold,
    declareDead: (process) => declareDead(process),
    play: async (actions) => {
      const began = Date.now()
      const running: Promise<void>[] = []
      for (const action of actions) {
        await delay(Math.max(0, began + action.at - Date.now()), undefined, { signal: over.signal })
        running.push(act(action))
      }
      await Promise.all(running)
    },
    end: () => over.abort(),
    crashed: (process) => {
      options.say(`${process} ended by itself`)
      troubles.push({ kind: 'crash', target: process, from: Date.now(), to: Date.now() })
    },
  }
}
