import { RESERVED_PREFIX } from '../reserved-names/reserved-names.ts'

/** Connectors of a verification by what they are for. */
export const CONNECTORS = {
  /** No policy of its own: what the workspace's default policy does is what happens. */
  plain: `${RESERVED_PREFIX}plain`,
  /** The default policy, with short times. */
  hasty: `${RESERVED_PREFIX}hasty`,
  /** One attempt per job. */
  once: `${RESERVED_PREFIX}once`,
  /** Four calls in two seconds. */
  few: `${RESERVED_PREFIX}few`,
  callback: `${RESERVED_PREFIX}callback`,
} as const

export const POLICIES = {
  hasty: `${RESERVED_PREFIX}hasty`,
  once: `${RESERVED_PREFIX}once`,
  few: `${RESERVED_PREFIX}few`,
} as const

/** No object ever has this name. */
export const UNKNOWN = `${RESERVED_PREFIX}none`

/** Of secrets each run has names of its own: processes remember the value of a name for some seconds. */
const tailOf = (runId: string): string => runId.slice(-12)
const SECRET = new RegExp(`^${RESERVED_PREFIX}(signing|webhook)-[0-9a-f]{12}$`)
export const secretNamesOf = (runId: string) => ({
  signing: `${RESERVED_PREFIX}signing-${tailOf(runId)}`,
  webhook: `${RESERVED_PREFIX}webhook-${tailOf(runId)}`,
})

const ACCOUNT = 'acct_verify_'
/** The account of the provider that the run's webhook route is for. */
export const accountOf = (runId: string): string => `${ACCOUNT}${runId.replaceAll('-', '')}`

export interface NamedRoute {
  readonly id: string
  readonly connector: string
  readonly account: string | null
}

/**
 * What is a verification's and nobody else's: exact names, never whatever begins like one. With `runId` only what
 * carries the id of that run, without it what any run has left.
 */
export const belongings = (runId?: string) => {
  const connectors: ReadonlySet<string> = new Set(Object.values(CONNECTORS))
  const policies: ReadonlySet<string> = new Set(Object.values(POLICIES))
  const secrets: ReadonlySet<string> = new Set(runId === undefined ? [] : Object.values(secretNamesOf(runId)))
  return {
    /** The target's address, which every connector of a run holds, has the id in it. */
    connector: (name: string, config: unknown): boolean =>
      connectors.has(name) && (runId === undefined || JSON.stringify(config).includes(`/runs/${runId}`)),
    policy: (name: string): boolean => policies.has(name),
    secret: (name: string): boolean => (runId === undefined ? SECRET.test(name) : secrets.has(name)),
    route: ({ connector, account }: NamedRoute): boolean =>
      connector === CONNECTORS.callback &&
      (runId === undefined ? account?.startsWith(ACCOUNT) === true : account === accountOf(runId)),
  }
}

const any = belongings()
/** Names of the product's own, which checks are about. */
export const isProductConnector = (name: string): boolean => !any.connector(name, '')
export const isProductPolicy = (name: string): boolean => !any.policy(name)
export const isProductSecret = (name: string): boolean => !any.secret(name)
