import { lookup, Resolver } from 'node:dns/promises'

/** All addresses of a name, IPv4 and IPv6; rejects with the resolver's error when there is none. */
export type ResolveHost = (hostname: string) => Promise<readonly string[]>

/** A lookup by the system holds one of the process's four libuv threads for as long as it takes. */
const SYSTEM_LOOKUPS = 2
const NOT_IN_DNS = new Set(['ENOTFOUND', 'ENODATA', 'ECONNREFUSED'])

/**
 * Asks DNS without blocking a thread, so that a name server that never answers cannot stall files, hashing
 * and the lookups of everyone else. What DNS does not know (the hosts file, search lists, single labels such
 * as `localhost` or a service name) goes to the system, two lookups at a time.
 */
export function createResolveHost(
  options: { readonly servers?: readonly string[]; readonly system?: ResolveHost } = {},
): ResolveHost {
  const resolver = new Resolver({ timeout: 2_000, tries: 2 })
  if (options.servers) resolver.setServers(options.servers)
  const viaSystem = limited(SYSTEM_LOOKUPS, options.system ?? askSystem)
  return async (hostname) => {
    if (!hostname.replace(/\.$/, '').includes('.')) return viaSystem(hostname)
    const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)])
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    if (addresses.length > 0) return addresses
    const fault = answers
      .flatMap((answer) => (answer.status === 'rejected' ? [answer.reason as NodeJS.ErrnoException] : []))
      .find((error) => !NOT_IN_DNS.has(error.code ?? ''))
    if (fault) throw fault
    return viaSystem(hostname)
  }
}

const askSystem: ResolveHost = async (hostname) =>
  (await lookup(hostname, { all: true })).map(({ address }) => address)

/** Runs at most `limit` calls at once; the others wait in order. */
function limited<Argument, Result>(
  limit: number,
  run: (argument: Argument) => Promise<Result>,
): (argument: Argument) => Promise<Result> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (argument) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve))
    else running += 1
    try {
      return await run(argument)
    } finally {
      // The place goes straight to the next in line; only without one does it become free.
      const next = waiting.shift()
      if (next) next()
      else running -= 1
    }
  }
}
