import { Secret } from '../secret.ts'

/** One server that a Redis URL names. */
export interface RedisEndpoint {
  readonly host: string
  readonly port: number
  readonly tls: boolean
  readonly username: string | undefined
  readonly password: Secret | undefined
  readonly database: number
}

const DEFAULT_PORT = 6379

/**
 * Reads `redis[s]://[[user]:password@]host[:port][/database]`; several nodes of one Redis Cluster are separated by
 * commas. Throws an Error whose message is the end of a sentence that begins with the setting's name; it never
 * repeats what it has read, because that holds a password.
 */
export function parseRedisUrls(text: string): readonly [RedisEndpoint, ...RedisEndpoint[]] {
  const [first, ...others] = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(parseRedisUrl)
  if (!first) throw new Error('must name a server')
  if (others.some((other) => accessOf(other) !== accessOf(first)))
    throw new Error('names servers that differ in more than host and port; nodes of one cluster do not')
  if (others.length > 0 && first.database !== 0)
    throw new Error('names several servers and a database; a Redis Cluster has database 0 only')
  return [first, ...others]
}

function parseRedisUrl(text: string): RedisEndpoint {
  // The error of `new URL` holds its input.
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === '')
    throw new Error(
      'must be redis://host:port or rediss://host:port; commas and special characters of the password are percent-encoded',
    )
  const database = /^\/?(\d{0,4})$/.exec(url.pathname)?.[1]
  if (database === undefined) throw new Error('may end in the number of a database and in nothing else')
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? DEFAULT_PORT : Number(url.port),
    tls: url.protocol === 'rediss:',
    username: decoded(url.username),
    password: url.password === '' ? undefined : new Secret(decoded(url.password) ?? ''),
    database: Number(database || 0),
  }
}

function decoded(part: string): string | undefined {
  if (part === '') return undefined
  try {
    return decodeURIComponent(part)
  } catch {
    throw new Error('holds a percent sign that encodes nothing; write it as %25')
  }
}

const accessOf = ({ tls, username, password, database }: RedisEndpoint): string =>
  JSON.stringify([tls, username, password?.reveal(), database])

/** For log lines: where, and nothing that is secret. */
export const nameOf = ({ host, port }: RedisEndpoint): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
