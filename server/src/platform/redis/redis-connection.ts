/**
 * The live connections to one Redis, single or cluster, behind one shape. They are never mended: the first fault of
 * any of them is told once through `onLost`, and who holds them opens new ones. So the client's own ways of
 * reconnecting are off, and there is one state to reason about.
 */
import { createClient, createCluster, ErrorReply } from '@redis/client'
import { nameOf, type RedisEndpoint } from './redis-url.ts'

export interface RedisConnection {
  readonly kind: 'single' | 'cluster'
  /** `key` decides the node of a cluster. Commands of one turn of the event loop go out together. */
  send(key: string, args: readonly string[]): Promise<unknown>
  /** Answers when every server that holds keys, and the connection for messages, have answered. */
  pingAll(): Promise<unknown>
  subscribe(channel: string, listener: (message: string) => void): Promise<void>
  destroy(): void
}

export interface ConnectionOptions {
  readonly endpoints: readonly [RedisEndpoint, ...RedisEndpoint[]]
  /** Shown by CLIENT LIST; no spaces. */
  readonly clientName: string
  /** Called at most once, also while it is still being opened. */
  onLost(reason: string): void
}

/** For the TCP and TLS handshakes of one server, and the silence after which a socket is given up. */
const CONNECT_MS = 2_000

type Client = ReturnType<typeof newClient>

function socketOf({ host, port, tls }: RedisEndpoint) {
  const limits = { connectTimeout: CONNECT_MS, socketTimeout: CONNECT_MS, reconnectStrategy: false } as const
  return tls ? { host, port, tls: true as const, ...limits } : { host, port, ...limits }
}

const accessOf = ({ username, password }: RedisEndpoint, clientName: string) => ({
  name: clientName,
  ...(username !== undefined && { username }),
  ...(password && { password: password.reveal() }),
  // A handshake of another product's servers.
  maintNotifications: 'disabled' as const,
  // The limit of the client would cost a signal and a timer per command; ours watches the oldest one.
  commandOptions: { timeout: 0 },
})

const newClient = (endpoint: RedisEndpoint, clientName: string, onError: (error: unknown) => unknown) =>
  createClient({
    ...accessOf(endpoint, clientName),
    database: endpoint.database,
    disableOfflineQueue: true,
    socket: socketOf(endpoint),
  }).on('error', onError)

/** Opens everything or nothing: rejects with the reason when a part of it cannot be had. */
export async function openConnection(options: ConnectionOptions): Promise<RedisConnection> {
  const open: { destroy(): void }[] = []
  let told = false
  let ended = false
  const end = (): void => {
    ended = true
    for (const each of open.splice(0)) each.destroy()
  }
  const lose = (error: unknown): void => {
    if (told || ended) return
    told = true
    options.onLost(reasonOf(error))
  }
  /** Faults count from the moment it is connected: before, one of several nodes may be away. */
  const connect = async (endpoint: RedisEndpoint): Promise<Client> => {
    let connected = false
    const client = newClient(endpoint, options.clientName, (error) => connected && lose(error))
    open.push(client)
    await client.connect()
    connected = true
    return client
  }
  try {
    const { client, endpoint } = await firstThatAnswers(options.endpoints, connect)
    const mode = modeOf(await client.sendCommand(['HELLO']))
    if (mode === 'cluster') {
      let connected = false
      const cluster = newCluster(options, endpoint, (error) => connected && lose(error))
      open.push(cluster)
      // Given up while it still looked for nodes: what it finds afterwards must not live on.
      await cluster.connect().finally(() => ended && cluster.destroy())
      connected = true
      return { ...overCluster(cluster, client), destroy: end }
    }
    refuseWhatIsNoStore(mode, options.endpoints.length)
    return { ...overSingle(client, await connect(endpoint)), destroy: end }
  } catch (error) {
    end()
    throw new Error(reasonOf(error), { cause: error })
  }
}

async function firstThatAnswers(
  endpoints: ConnectionOptions['endpoints'],
  connect: (endpoint: RedisEndpoint) => Promise<Client>,
): Promise<{ client: Client; endpoint: RedisEndpoint }> {
  const failures: string[] = []
  for (const endpoint of endpoints)
    try {
      return { client: await connect(endpoint), endpoint }
    } catch (error) {
      failures.push(`${nameOf(endpoint)}: ${reasonOf(error)}`)
    }
  throw new Error(failures.join('; '))
}

function newCluster(
  options: ConnectionOptions,
  { tls, ...endpoint }: RedisEndpoint,
  lose: (error: unknown) => unknown,
) {
  const { connectTimeout, socketTimeout, reconnectStrategy } = socketOf({ tls, ...endpoint })
  const limits = { connectTimeout, socketTimeout, reconnectStrategy }
  return createCluster({
    rootNodes: options.endpoints.map((each) => ({ socket: socketOf(each) })),
    defaults: {
      ...accessOf({ tls, ...endpoint }, options.clientName),
      socket: tls ? { ...limits, tls: true } : limits,
    },
    commandOptions: { timeout: 0 },
    topologyRefreshOnReconnectionAttemptStrategy: false,
  })
    .on('error', lose)
    .on('node-error', lose)
}

function overCluster(cluster: ReturnType<typeof newCluster>, subscriber: Client) {
  return {
    kind: 'cluster' as const,
    send: (key: string, args: readonly string[]) => cluster.sendCommand(key, false, [...args]),
    pingAll: () =>
      Promise.all([
        subscriber.ping(),
        ...cluster.masters.map(async (node) => (await cluster.nodeClient(node)).ping()),
      ]),
    subscribe: (channel: string, listener: (message: string) => void) =>
      subscriber.subscribe(channel, listener),
  }
}

function overSingle(client: Client, subscriber: Client) {
  return {
    kind: 'single' as const,
    send: (_key: string, args: readonly string[]) => client.sendCommand([...args]),
    pingAll: () => Promise.all([client.ping(), subscriber.ping()]),
    subscribe: (channel: string, listener: (message: string) => void) =>
      subscriber.subscribe(channel, listener),
  }
}

/** `standalone`, `cluster` or `sentinel` (HELLO, Redis 6 and newer). */
function modeOf(hello: unknown): string {
  const mode = hello instanceof Map ? hello.get('mode') : (hello as { mode?: unknown } | null)?.mode
  return String(mode)
}

function refuseWhatIsNoStore(mode: string, endpoints: number): void {
  if (mode !== 'standalone') throw new Error(`a server in ${mode} mode holds no keys`)
  // Each node would choose one of them, and what they count would not meet.
  if (endpoints > 1) throw new Error('several servers are named, but they are no Redis Cluster')
}

/**
 * What is wrong, for a log line. Of an answer only its first word (`WRONGPASS`, `LOADING`): old servers quote the
 * command they did not understand, and the first command of a connection holds the password.
 */
export function reasonOf(error: unknown): string {
  if (error instanceof ErrorReply) return error.message.split(' ', 1)[0] ?? 'error'
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join(', ')
  return error instanceof Error ? error.message || error.name : 'unknown'
}
