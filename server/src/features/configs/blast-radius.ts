import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { laneLoads } from '../../queue/lane-loads.ts'
import type { ConfigDeps } from './check-config.ts'
import type { BlastRadius } from './configs.schema.ts'
import { type ConfigDocument, DEFAULT_POLICY } from './document.ts'
import { connectorLanes } from './lanes.ts'
import { memberOf } from './members.ts'
import { readActive } from './versions.ts'

/** Calls of a workspace per connector since a moment: executions and attempts of jobs. */
export type Traffic = (
  on: Queryable,
  since: { readonly tenantId: string; readonly sinceMs: number },
) => Promise<ReadonlyMap<string, number>>

export interface BlastDeps extends ConfigDeps {
  readonly clock: Pick<Clock, 'now'>
  /** Each reads a bounded number of the newest rows: a busy workspace has its newest calls counted, not all. */
  readonly executions: Traffic
  readonly attempts: Traffic
}

export type Blast = BlastRadius['connectors'][number]

const DAY_MS = 86_400_000

/** What the activation of a document would touch: every connector that changes or goes, and what depends on it. */
export async function blastRadius(
  deps: BlastDeps,
  tenantId: string,
  document: ConfigDocument,
): Promise<BlastRadius> {
  const { db } = deps
  const active = await readActive(db, tenantId)
  const changes = changesOf(active.document, document)
  if (changes.length === 0) return { active_version: active.version, connectors: [] }
  const since = { tenantId, sinceMs: deps.clock.now() - DAY_MS }
  const [lanes, deliveries, executions, attempts] = await Promise.all([
    connectorLanes(db, tenantId),
    deps.deliveries(db, tenantId),
    deps.executions(db, since),
    deps.attempts(db, since),
  ])
  const laneOf = changes.flatMap(({ connector }) => lanes.get(connector) ?? [])
  const loads = await laneLoads(db, { tenantId, lanes: laneOf })
  return {
    active_version: active.version,
    connectors: changes.map(({ connector, change }) => ({
      connector,
      change,
      webhook_routes: deliveries.filter((each) => each.connector === connector).map(({ by }) => by),
      jobs: loads.get(lanes.get(connector) ?? 0) ?? { ready: 0, deferred: 0, running: 0 },
      calls_24h: {
        executions: executions.get(connector) ?? 0,
        job_attempts: attempts.get(connector) ?? 0,
      },
    })),
  }
}

type Change = Pick<Blast, 'connector' | 'change'>

function changesOf(before: ConfigDocument, after: ConfigDocument): Change[] {
  const names = [...new Set([...Object.keys(before.connectors), ...Object.keys(after.connectors)])].sort()
  return names.flatMap((connector): Change[] => {
    const was = memberOf(before, 'connectors', connector)
    const is = memberOf(after, 'connectors', connector)
    if (!is) return [{ connector, change: 'removed' }]
    if (!was) return [{ connector, change: 'added' }]
    if (canonicalJson(was) !== canonicalJson(is)) return [{ connector, change: 'changed' }]
    const same = rulesOf(before, connector) === rulesOf(after, connector)
    return same ? [] : [{ connector, change: 'policy' }]
  })
}

/** Everything that decides how a connector is called, besides itself. */
function rulesOf(document: ConfigDocument, connector: string): string {
  const { policy, operation_policies = {} } = memberOf(document, 'connectors', connector) ?? {}
  const names = [
    DEFAULT_POLICY,
    ...(policy === undefined ? [] : [policy]),
    ...Object.values(operation_policies),
  ]
  return canonicalJson(names.map((name) => memberOf(document, 'policies', name) ?? null))
}
