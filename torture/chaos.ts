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
  /**
   * Sets the last beat of a process that is away back by so many ms, so that a short run sees it declared dead;
   * undefined = not.
   */
  readonly hurryMs?: number | undefined
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
  /** A process ended without our doing. */
  crashed(process: string): void
}

const named = <Thing>(things: ReadonlyMap<string, Thing>, name: string): Thing => {
  const thing = things.get(name)
  if (thing === undefined) throw new Error(`there is no ${name}`)
  return thing
}

export function createChaos(options: ChaosOptions): Chaos {
  const { processes, links, database } = options
  const troubles: Trouble[] = []

  const note = async (kind: Disturbance, target: string, work: () => unknown): Promise<void> => {
    const from = Date.now()
    options.say(`${kind} ${target}`)
    await work()
    troubles.push({ kind, target, from, to: Date.now() })
  }

  const hurry = async (process: string): Promise<void> => {
    if (options.hurryMs === undefined || !process.startsWith('worker-')) return
    await database.query(
      `update node set beat_at = beat_at - $2 * interval '1 millisecond' where host = $1`,
      [process, options.hurryMs],
    )
  }

  const turned = async (link: Link, mode: 'stall' | 'deaf' | 'refuse', forMs: number): Promise<void> => {
    // Two at once on one link: the later one has to wait for its end, or it would end with the first.
    while (link.mode !== 'open') await delay(50)
    link.turn(mode)
    await delay(forMs)
    link.turn('open')
  }

  const act = (action: Action): Promise<void> => {
    switch (action.kind) {
      case 'kill':
      case 'stop': {
        const { kind, process, backAfterMs } = action
        return note(kind, process, async () => {
          const back = named(processes, process)[kind](backAfterMs)
          if (kind === 'kill') await hurry(process)
          await back
        })
      }
      case 'pause':
        return note('pause', action.process, () => named(processes, action.process).pause(action.forMs))
      case 'database_kill':
        return note('database_kill', 'database', () => database.kill())
      case 'backend_kill':
        return note('backend_kill', 'database', () => database.killBackend())
      case 'reset':
      case 'cut': {
        const { kind, link } = action
        return note(kind, link, () => named(links, link)[kind]())
      }
      default: {
        const { kind, link, forMs } = action
        return note(kind, link, async () => {
          const over = turned(named(links, link), kind, forMs)
          if (options.hurryMs !== undefined && forMs > HURRY_FROM_MS)
            await hurry(link.replace('>database', ''))
          await over
        })
      }
    }
  }

  return {
    troubles,
    act,
    play: async (actions) => {
      const began = Date.now()
      const running: Promise<void>[] = []
      for (const action of actions) {
        await delay(Math.max(0, began + action.at - Date.now()))
        running.push(act(action))
      }
      await Promise.all(running)
    },
    crashed: (process) => {
      options.say(`${process} ended by itself`)
      troubles.push({ kind: 'crash', target: process, from: Date.now(), to: Date.now() })
    },
  }
}

/** In a hurried run a worker that is cut off for longer than this is declared dead. */
const HURRY_FROM_MS = 3_000
