import { once } from 'node:events'
import { Client } from 'pg'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { roleSetting, startOptions } from './database-roles.ts'

/**
 * A lock that this process has for as long as it lives, on a connection of its own: Postgres gives it back when the
 * process ends, however it ends. A connection that is lost is made again, and the lock taken again.
 */
export interface SessionLock {
  /** Whether it is held at this moment. */
  readonly held: boolean
  /** Waits until it is held, for at most `withinMs`. */
  takenWithin(withinMs: number): Promise<boolean>
  /** Who holds it in whatever way, this process included, by application name and address. Rejects without a connection. */
  holders(): Promise<readonly string[]>
  release(): Promise<void>
}

export interface SessionLockOptions {
  readonly url: string
  readonly applicationName: string
  /** The two halves of an advisory lock's key. */
  readonly key: readonly [number, number]
  /** Shared: any number of processes hold it together, and none alone meanwhile. */
  readonly mode: 'alone' | 'shared'
  /** For log lines: what it means that somebody else holds it. */
  readonly meaning: string
  readonly log: Log
  readonly clock: Clock
}

const RETRY_MS = 250
/** A machine that died without a word is noticed by Postgres after some 25 s, not after the two hours of the kernel. */
const KEEPALIVES = {
  tcp_keepalives_idle: '10',
  tcp_keepalives_interval: '5',
  tcp_keepalives_count: '3',
  idle_session_timeout: '0',
}
/** The role of the processes sees the names of other connections and not their addresses: each tells its own. */
const TELL_ADDRESS = `select set_config('application_name',
  concat_ws(' at ', nullif(current_setting('application_name'), ''), host(inet_client_addr())), false)`

export function holdSessionLock(options: SessionLockOptions): SessionLock {
  const { key, mode, log, clock } = options
  const take = `select pg_try_advisory_lock${mode === 'shared' ? '_shared' : ''}(${key.join(', ')}) as taken`
  const ending = new AbortController()
  const waiting = new Set<() => void>()
  let client: Client | undefined
  let held = false
  /** It was held once: who has it now came while the connection was lost. */
  let wasHeld = false
  let complained = false

  const onConnection = async (): Promise<void> => {
    const next = new Client({
      connectionString: options.url,
      application_name: options.applicationName,
      keepAlive: true,
      options: startOptions({ ...KEEPALIVES, ...roleSetting('service') }),
    })
    const lost = new Promise<void>((resolve) => {
      next.on('error', () => resolve())
      next.on('end', () => resolve())
    })
    try {
      await next.connect()
      await next.query(TELL_ADDRESS)
      client = next
      while (!ending.signal.aborted) {
        const { rows } = await next.query<{ taken: boolean }>(take)
        if (rows[0]?.taken) {
          held = wasHeld = true
          complained = false
          for (const tell of waiting) tell()
          await Promise.race([lost, once(ending.signal, 'abort')])
          return
        }
        if (wasHeld && !complained) log.warn({ held_by: await holders() }, options.meaning)
        complained = true
        await clock.sleep(RETRY_MS, ending.signal)
      }
    } finally {
      held = false
      client = undefined
      next.end().catch(() => undefined)
    }
  }

  const run = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      await onConnection().catch((err: unknown) => {
        if (!ending.signal.aborted) log.debug({ err }, 'the connection that holds a lock is lost')
      })
      await clock.sleep(RETRY_MS, ending.signal).catch(() => undefined)
    }
  }

  const holders = async (): Promise<readonly string[]> => {
    if (!client) throw new Error('no connection')
    const { rows } = await client.query<{ name: string }>(
      `select a.application_name as name
       from pg_locks l join pg_stat_activity a using (pid)
       where l.locktype = 'advisory' and l.granted and l.objsubid = 2
         and l.database = (select oid from pg_database where datname = current_database())
         and l.classid = ${key[0]} and l.objid = ${key[1]}`,
    )
    return rows.map(({ name }) => name)
  }

  const running = run()

  return {
    get held() {
      return held
    },
    takenWithin: (withinMs) => {
      if (held) return Promise.resolve(true)
      return new Promise((resolve) => {
        const end = (): void => {
          clearTimeout(timer)
          waiting.delete(end)
          resolve(held)
        }
        const timer = setTimeout(end, withinMs)
        waiting.add(end)
      })
    },
    holders,
    release: async () => {
      ending.abort()
      await running
    },
  }
}
