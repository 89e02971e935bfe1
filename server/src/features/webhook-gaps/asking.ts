import { ownCall } from '../../platform/call-context.ts'
import { Problem } from '../../problems.ts'
import type { Executor } from '../execute/execute.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { gapCheckFaults } from './check-settings.ts'
import { type Ask, type Asking, type GapSource, isObject } from './gap-source.ts'
import { GAP_SOURCES } from './gap-sources/registry.ts'

/** In the request log, for what the hub asks for itself. */
export const HUB = 'hub:webhook-gaps'

/** A route that is checked, how its provider is asked, and through what. */
export interface AskedRoute {
  readonly source: GapSource
  readonly asking: Asking
}

/**
 * Calls an operation as any caller of the workspace would: the same policies, breakers, limits and guarded dial, and a
 * row in the request log. An answer that the provider has not given now says nothing about what is missing.
 */
const askThrough =
  (executor: Pick<Executor, 'execute'>, tenantId: string, connector: string): Ask =>
  async (operation, input) => {
    const { text } = await executor.execute({
      principal: { subject: HUB, tenantId },
      call: ownCall(),
      connector,
      operation,
      input,
    })
    const answer: unknown = JSON.parse(text)
    if (!isObject(answer) || (answer.served_from !== 'upstream' && answer.served_from !== 'coalesced'))
      throw new Problem(
        'upstream_error',
        'The policy of the connector has answered in the place of the provider.',
      )
    return answer.output
  }

/**
 * Undefined when the route is not checked, or its provider has no list that this hub can read. Errors: `config_invalid`
 * for settings that this hub does not understand.
 */
export function askedRoute(
  executor: Pick<Executor, 'execute'>,
  route: WebhookRoute | undefined,
): AskedRoute | undefined {
  const source = route && GAP_SOURCES.get(route.provider)
  if (!source || !route.gapCheck) return undefined
  const { connector, settings } = route.gapCheck
  // They were right when the route was saved; this hub may be another one.
  const [fault] = gapCheckFaults(route.provider, undefined, settings)
  if (fault)
    throw new Problem(
      'config_invalid',
      `The gap check of the route is not valid: ${fault.path} ${fault.message}.`,
    )
  return { source, asking: { ask: askThrough(executor, route.tenantId, connector), route, settings } }
}

/** For people: why a call or a route did not work. */
export const whyOf = (error: unknown): string =>
  (error instanceof Problem ? error.message : 'An unexpected failure inside the hub.').slice(0, 1_000)
