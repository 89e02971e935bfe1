import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { WebhookRoute } from './route.ts'

/** All routes of all workspaces at one moment. */
export interface RouteIndex {
  byId(provider: string, id: string): WebhookRoute | undefined
  /** The one route that claims this account. */
  claimedBy(provider: string, account: string, livemode: boolean): WebhookRoute | undefined
  /** Routes for the sender's own account, of any workspace. */
  ownAccount(provider: string, livemode: boolean): readonly WebhookRoute[]
  /** All routes of the provider, newest first. */
  ofProvider(provider: string): readonly WebhookRoute[]
}

const keyOf = (...parts: readonly (string | boolean)[]): string => JSON.stringify(parts)

function addTo(lists: Map<string, WebhookRoute[]>, key: string, route: WebhookRoute): void {
  const list = lists.get(key)
  if (list) list.push(route)
  else lists.set(key, [route])
}

export function indexRoutes(routes: readonly WebhookRoute[]): RouteIndex {
  const byId = new Map<string, WebhookRoute>()
  const claims = new Map<string, WebhookRoute>()
  const own = new Map<string, WebhookRoute[]>()
  const ofProvider = new Map<string, WebhookRoute[]>()
  for (const route of routes) {
    const { provider, account, livemode } = route
    byId.set(keyOf(provider, route.id), route)
    if (account !== null) claims.set(keyOf(provider, account, livemode), route)
    else addTo(own, keyOf(provider, livemode), route)
    addTo(ofProvider, provider, route)
  }
  // Ids rise with the time at which routes are made.
  for (const all of ofProvider.values()) all.sort((left, right) => (left.id < right.id ? 1 : -1))
  return {
    byId: (provider, id) => byId.get(keyOf(provider, id)),
    claimedBy: (provider, account, livemode) => claims.get(keyOf(provider, account, livemode)),
    ownAccount: (provider, livemode) => own.get(keyOf(provider, livemode)) ?? [],
    ofProvider: (provider) => ofProvider.get(provider) ?? [],
  }
}

/** The routes in memory, so that an event costs no read; kept fresh by NOTIFY and a poll. */
export interface RouteDirectory {
  /** The newest known routes. Errors: `database_unavailable` when they could never be read. */
  current(): Promise<RouteIndex>
  /**
   * Routes with everything in them that was committed before the call: the same object as before when nothing
   * has changed. Asks the database. Errors: `database_unavailable`.
   */
  refresh(): Promise<RouteIndex>
  close(): Promise<void>
}

export interface RouteDirectoryOptions {
  readonly db: Queryable
  readonly clock: Clock
  /** Calls back on every hint that routes changed; gives the way to stop. */
  readonly onHint: (handle: () => void) => () => void
  readonly pollMs: number
  readonly onFailure: (error: unknown) => void
  readonly readGeneration: (on: Queryable) => Promise<number>
  readonly readRoutes: (on: Queryable) => Promise<readonly WebhookRoute[]>
}

export function startRouteDirectory(options: RouteDirectoryOptions): RouteDirectory {
  const { db, clock } = options
  const stop = new AbortController()
  let known: { readonly generation: number; readonly index: RouteIndex } | undefined
  let running: Promise<RouteIndex> | undefined
  let next: Promise<RouteIndex> | undefined

  const load = async (): Promise<RouteIndex> => {
    // The number first: routes that change between the two reads are then read again, never missed.
    const generation = await options.readGeneration(db)
    if (known?.generation === generation) return known.index
    const index = indexRoutes(await options.readRoutes(db))
    known = { generation, index }
    return index
  }

  /** One read at a time: a flood of unknown senders costs one connection. Who comes during a read waits for the next one. */
  const refresh = (): Promise<RouteIndex> => {
    if (!running) {
      running = load().finally(() => {
        running = undefined
      })
      return running
    }
    next ??= running.then(noticed, noticed).then(() => {
      next = undefined
      return refresh()
    })
    return next
  }
  const noticed = (): void => undefined

  const refreshQuietly = (): Promise<void> =>
    stop.signal.aborted ? Promise.resolve() : refresh().then(noticed, options.onFailure)

  const poll = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await refreshQuietly()
      await clock.sleep(options.pollMs, stop.signal).catch(noticed)
    }
  }
  const stopHints = options.onHint(() => void refreshQuietly())
  const polling = poll()

  return {
    refresh,
    current: async () => known?.index ?? refresh(),
    close: async () => {
      stopHints()
      stop.abort()
      await polling
      await Promise.all([running, next].map((work) => work?.then(noticed, noticed)))
    },
  }
}
