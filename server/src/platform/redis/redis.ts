/**
 * Redis as something that may be gone at any moment. Nobody ever waits for it: it connects and reconnects beside the
 * work, a call gets its answer within a short limit or is told that Redis is gone, and from then on every call is
 * told so at once until Redis has answered again.
 */
import { createHash } from 'node:crypto'
import { ErrorReply } from '@redis/client'
import type { Random } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { createCallLimit } from './call-limit.ts'
import { openConnection, type RedisConnection, reasonOf } from './redis-connection.ts'
import { nameOf, parseRedisUrls } from './redis-url.ts'

/** A call was not answered in time, or was not even sent. Whether it had its effect is not known. */
export class RedisGone extends Error {
  override readonly name = 'RedisGone'
}

/** A Lua script, sent by its hash; every key it touches is given as a key, and all have one hash tag. */
export interface RedisScript {
  readonly lua: string
  readonly sha: string
}

export const redisScript = (lua: string): RedisScript => ({
  lua,
  sha: createHash('sha1').update(lua).digest('hex'),
})

export interface Redis {
  readonly ready: boolean
  /** Sends one command; `key` decides the node of a cluster. Rejects with RedisGone, or with the server's error. */
  send(key: string, args: readonly string[]): Promise<unknown>
  /** Runs a script; the server learns it when it does not know it. Rejects like `send`. */
  run(script: RedisScript, keys: readonly string[], args: readonly string[]): Promise<unknown>
  /** Messages that are sent while Redis is gone are not heard. Returns the way to stop. */
  subscribe(channel: string, listener: (message: string) => void): () => void
  /** Called after each change of `ready`. Returns the way to stop. */
  onChange(listener: (ready: boolean) => void): () => void
  /** Resolves when Redis is ready, with false when it is not within this time. */
  untilReady(withinMs: number): Promise<boolean>
  close(): void
}

export interface RedisOptions {
  /** See `parseRedisUrls`. */
  readonly url: string
  readonly clientName: string
  readonly log: Log
  readonly metrics: Metrics
  readonly random: Random
  /** How long a call waits for its answer, in milliseconds. */
  readonly limitMs?: number
}

const LIMIT_MS = 50
/** How often it is asked whether it is still there, so that seldom a call is the first to notice. */
const PING_EVERY_MS = 1_000
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5_000
/** After so long without a fault the pauses begin small again. */
const STEADY_MS = 10_000
/** Answers that concern one call only: a script to be sent again, a slot that is on its way to another node. */
const PASSING = /^(NOSCRIPT|TRYAGAIN)\b/

/** Begins to connect at once, in the background. Throws for a URL that cannot be read. */
export function createRedis(options: RedisOptions): Redis {
  const { log, metrics, random, limitMs = LIMIT_MS } = options
  const endpoints = parseRedisUrls(options.url)
  const where = endpoints.map(nameOf).join(',')
  const readyGauge = metrics.gauge('redis_ready', 'Whether Redis answers (1) or is gone (0)')
  const losses = metrics.counter('redis_losses_total', 'How often Redis went away while it was in use')
  const duration = metrics.histogram('redis_call_seconds', 'Time until Redis answered', ['ok'])
  readyGauge.set(0)

  /** Set while Redis answers. */
  let connection: RedisConnection | undefined
  let readyAt = 0
  let failures = 0
  let closed = false
  /** What the last log line said. */
  let lastSaid: 'ready' | 'gone' | undefined
  let retry: NodeJS.Timeout | undefined
  let pings: NodeJS.Timeout | undefined
  const channels = new Map<string, Set<(message: string) => void>>()
  const changed = new Set<(ready: boolean) => void>()
  const limit = createCallLimit(limitMs, () => {
    if (connection) lose(connection, `no answer within ${limitMs} ms`)
  })

  const tell = (ready: boolean): void => {
    readyGauge.set(ready ? 1 : 0)
    for (const listener of [...changed]) listener(ready)
  }

  const sayGone = (reason: string): void => {
    if (lastSaid !== 'gone') log.warn({ redis: where, reason }, 'Redis is gone')
    lastSaid = 'gone'
  }

  const lose = (lost: RedisConnection, reason: string): void => {
    if (lost !== connection) return
    connection = undefined
    clearInterval(pings)
    lost.destroy()
    losses.inc()
    if (performance.now() - readyAt > STEADY_MS) failures = 0
    if (!closed) sayGone(reason)
    limit.releaseAll(new RedisGone(reason))
    tell(false)
    connectLater()
  }

  const connectLater = (): void => {
    if (closed) return
    failures += 1
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10))
    retry = setTimeout(() => void connect(), ceiling * (0.5 + random() / 2))
  }

  const connect = async (): Promise<void> => {
    let next: RedisConnection | undefined
    /** Why it broke before it was in use. */
    let brokeBy: string | undefined
    const heard = new Set<string>()
    try {
      next = await openConnection({
        endpoints,
        clientName: options.clientName,
        onLost: (reason) => {
          brokeBy = reason
          if (next) lose(next, reason)
        },
      })
      for (const channel of channels.keys()) {
        await next.subscribe(channel, deliver(channel))
        heard.add(channel)
      }
      await next.pingAll()
      if (brokeBy !== undefined) throw new Error(brokeBy)
    } catch (error) {
      next?.destroy()
      if (closed) return
      sayGone(reasonOf(error))
      connectLater()
      return
    }
    if (closed) return next.destroy()
    use(next, heard)
  }

  const use = (next: RedisConnection, heard: ReadonlySet<string>): void => {
    connection = next
    readyAt = performance.now()
    log.info({ redis: where, kind: next.kind }, 'Redis is ready')
    lastSaid = 'ready'
    for (const channel of channels.keys()) if (!heard.has(channel)) hear(next, channel)
    pings = setInterval(() => {
      watched(next, () => next.pingAll()).catch(() => undefined)
    }, PING_EVERY_MS)
    tell(true)
  }

  const deliver =
    (channel: string) =>
    (message: string): void => {
      for (const listener of channels.get(channel) ?? []) listener(message)
    }

  const hear = (on: RedisConnection, channel: string): void => {
    watched(on, () => on.subscribe(channel, deliver(channel))).catch(() => undefined)
  }

  /** Runs one call under the limit of all calls. A server that cannot do its work is given up. */
  const watched = async <T>(on: RedisConnection, call: () => Promise<T>): Promise<T> => {
    const sentAt = performance.now()
    let ok = false
    try {
      const reply = await limit.run(call)
      ok = true
      return reply
    } catch (error) {
      if (error instanceof RedisGone || (error instanceof ErrorReply && PASSING.test(error.message)))
        throw error
      // It answers, but loads, is read-only or out of memory: as good as gone.
      lose(on, error instanceof ErrorReply ? error.message : reasonOf(error))
      throw new RedisGone(reasonOf(error))
    } finally {
      duration.observe({ ok: String(ok) }, (performance.now() - sentAt) / 1_000)
    }
  }

  const send = (key: string, args: readonly string[]): Promise<unknown> => {
    const on = connection
    return on ? watched(on, () => on.send(key, args)) : Promise.reject(new RedisGone('not connected'))
  }

  void connect()

  return {
    get ready() {
      return connection !== undefined
    },
    send,
    run: async (script, keys, args) => {
      const [first = ''] = keys
      const rest = [String(keys.length), ...keys, ...args]
      try {
        return await send(first, ['EVALSHA', script.sha, ...rest])
      } catch (error) {
        if (!(error instanceof ErrorReply && error.message.startsWith('NOSCRIPT'))) throw error
        return await send(first, ['EVAL', script.lua, ...rest])
      }
    },
    subscribe: (channel, listener) => {
      const known = channels.get(channel)
      const listeners = known ?? new Set()
      listeners.add(listener)
      channels.set(channel, listeners)
      if (!known && connection) hear(connection, channel)
      return () => listeners.delete(listener)
    },
    onChange: (listener) => {
      changed.add(listener)
      return () => changed.delete(listener)
    },
    untilReady: (withinMs) => {
      if (connection) return Promise.resolve(true)
      return new Promise((resolve) => {
        const done = (ready: boolean): void => {
          clearTimeout(late)
          changed.delete(done)
          resolve(ready)
        }
        const late = setTimeout(() => done(false), withinMs)
        changed.add(done)
      })
    },
    close: () => {
      closed = true
      clearTimeout(retry)
      if (connection) lose(connection, 'closed')
    },
  }
}
