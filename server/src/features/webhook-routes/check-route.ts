import type { Queryable } from '../../platform/db/statement.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { RouteSettings } from './route.ts'

/** What the rules for a route ask of other features. */
export interface RouteChecks {
  /** What is wrong with the name of a provider and the settings of a route of it; paths are of the route: `/settings/…`. */
  readonly providerFaults: (
    provider: string,
    settings: Readonly<Record<string, unknown>>,
  ) => readonly ProblemDetail[]
  /** What is wrong with the gap check of a route of a provider, through a connector of this kind; paths are of the route. */
  readonly gapFaults: (
    provider: string,
    connectorKind: string | undefined,
    settings: Readonly<Record<string, unknown>>,
  ) => readonly ProblemDetail[]
  /** The kind of a connector in the active config of the workspace; undefined = no such connector. */
  readonly connectorKind: (on: Queryable, tenantId: string, connector: string) => Promise<string | undefined>
  /** Names of the workspace's secret refs. */
  readonly secretNames: (on: Queryable, tenantId: string) => Promise<ReadonlySet<string>>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  /**
   * Fingerprints of the values behind secret refs, by name, without those that cannot be read. Absent = values are not
   * compared. Asks the stores of secrets: not for a transaction.
   */
  readonly fingerprintsOf?: (
    tenantId: string,
    names: readonly string[],
  ) => Promise<ReadonlyMap<string, readonly string[]>>
}

/** What a route is held against. */
export interface RouteSurroundings extends Pick<RouteChecks, 'providerFaults' | 'gapFaults'> {
  readonly environment: string | undefined
  readonly kindOf: (connector: string) => string | undefined
  readonly secrets: ReadonlySet<string>
  /** Where connectors and secret refs are looked for, as faults say it. */
  readonly said: { readonly connectors: string; readonly secrets: string }
}

/** Every fault of a route by itself, with paths of the route, e.g. `/secret_refs/0`. */
export function routeFaults(route: RouteSettings, around: RouteSurroundings): ProblemDetail[] {
  const { environment, said } = around
  const kind = around.kindOf(route.connector)
  const asked = route.gapCheck && around.kindOf(route.gapCheck.connector)
  const faults: (ProblemDetail | false | null)[] = [
    ...around.providerFaults(route.provider, route.settings),
    route.livemode !== (environment === 'prod') && {
      path: '/livemode',
      message: `must be ${environment === 'prod'} in a workspace of ${environment}`,
    },
    kind !== 'callback' && {
      path: '/connector',
      message:
        kind === undefined
          ? `is not a connector of ${said.connectors}`
          : `must be of kind callback, not ${kind}`,
    },
    ...route.secretRefs.map(
      (name, at) =>
        !around.secrets.has(name) && {
          path: `/secret_refs/${at}`,
          message: `is not a secret ref of ${said.secrets}`,
        },
    ),
    ...windowFaults(route),
    ...(route.gapCheck
      ? around.gapFaults(
          route.provider,
          (asked === 'callback' ? undefined : asked) ?? undefined,
          route.gapCheck.settings,
        )
      : []),
    route.gapCheck &&
      (asked === undefined || asked === 'callback') && {
        path: '/gap_check/connector',
        message:
          asked === undefined
            ? `is not a connector of ${said.connectors}`
            : 'must be a connector to the provider, not of kind callback',
      },
  ]
  return faults.filter((fault) => fault !== false && fault !== null)
}

function windowFaults({ secretRefs, secretWindows }: RouteSettings): ProblemDetail[] {
  const seen = new Set<string>()
  return secretWindows.flatMap(({ secretRef, validFrom, validUntil }, at): ProblemDetail[] => {
    const path = `/secret_windows/${at}`
    const twice = seen.has(secretRef)
    seen.add(secretRef)
    const faults: (ProblemDetail | false)[] = [
      !secretRefs.includes(secretRef) && {
        path: `${path}/secret_ref`,
        message: 'is not one of the secret refs of this route',
      },
      twice && { path: `${path}/secret_ref`, message: 'has a window already' },
      validFrom !== null &&
        validUntil !== null &&
        validFrom >= validUntil && { path: `${path}/valid_until`, message: 'must be after valid_from' },
    ]
    return faults.filter((fault) => fault !== false)
  })
}
