import type { Unresolved } from '../features/configs/configs.ts'
import type { ResolveSecret } from '../features/secrets/secrets.ts'
import type { Clock } from '../platform/clock.ts'
import { Problem } from '../problems.ts'

/** A store that is away must not hold an operator up for long. */
const LIMIT_MS = 3_000
const AT_ONCE = 16

/** Which secret refs do not resolve in this process, and why; never their values. */
export const unresolvedSecrets =
  (resolveSecret: ResolveSecret, clock: Pick<Clock, 'after'>): Unresolved =>
  (tenantId, names) =>
    whyNot(clock, names, async (name) => {
      await resolveSecret(tenantId, name)
      return undefined
    })

/** Asks about each within the time limit; `ask` gives or throws the reason why not. */
export async function whyNot(
  clock: Pick<Clock, 'after'>,
  names: readonly string[],
  ask: (name: string) => Promise<string | undefined>,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  const waiting = [...names]
  const next = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const why = await inTime(clock, ask(name)).catch(reasonOf)
      if (why !== undefined) found.set(name, why)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, next))
  return found
}

function reasonOf(error: unknown): string {
  if (error instanceof Problem && error.code === 'secret_unresolved')
    return error.message.replace(/^.* does not resolve: /, '').replace(/\.$/, '')
  throw error
}

function inTime(clock: Pick<Clock, 'after'>, work: Promise<string | undefined>): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const stop = clock.after(LIMIT_MS, () => resolve(`its store did not answer within ${LIMIT_MS / 1_000} s`))
    work.then(resolve, reject).finally(stop)
  })
}
