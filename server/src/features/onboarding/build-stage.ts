import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import type { Change } from '../audit/audit.ts'
import { LEADER } from '../retention/retention.ts'
import type { ReadRef } from '../secrets/secrets.ts'
import { eventually } from './eventually.ts'
import { enterNeighbour } from './neighbour.ts'
import { breakOffNeighbour, hasLeader, takeNeighbour } from './onboarding.sql.ts'
import { planeClient } from './plane-client.ts'
import { endRunIdentities, makeRunIdentity, takeToken } from './run-identity.ts'
import { part, type Stage, type StageParts, type StageUrls, type Subject } from './stage.ts'
import { addStageObjects, CONNECTORS, removeStageObjects } from './stage-objects.ts'
import { openTarget } from './target.ts'
import type { SearchText } from './text-search.ts'

export interface StageDeps {
  readonly db: Db
  readonly clock: Clock
  readonly dial: Dial
  readonly urls: StageUrls
  readonly environment: 'dev' | 'prod'
  readonly search: SearchText
  /** `KEEP_…_DAYS` in words. */
  readonly kept: string
  readonly readRef: ReadRef
}

/** A run that has been silent for so long has died with its process. */
export const SILENT_MS = 60_000
const NEIGHBOUR_WITHIN_MS = 60_000
/** The breaker that a run opens must be closed for the next one: forced closed, it begins anew. */
const FORCED_MS = 1_000

/**
 * Builds the stage of one run, with what an earlier run may have left cleared away. `clear` takes away everything
 * that was made since, whatever else has failed.
 */
export async function buildStage(
  deps: StageDeps,
  run: {
    readonly id: string
    readonly subject: Subject
    readonly change: Change
    readonly reason: string
    readonly targetUrl: string | undefined
    readonly signal: AbortSignal
  },
): Promise<{ readonly stage: Stage; clear(): Promise<void> }> {
  const { db, clock, urls } = deps
  const { subject, change, reason, signal } = run
  const { tenantId } = subject
  const parts: StageParts = {}
  const undo: (() => Promise<unknown>)[] = []

  const identity = await makeRunIdentity(db, { tenantId, change })
  undo.push(() => endRunIdentities(db, { tenantId, change }))
  const clientOf = (name: 'control' | 'exec', token: string | null, until = signal) =>
    planeClient({ name, url: urls[name], token, signal: until })
  const signOn = (name: 'control' | 'exec') => takeToken(clientOf(name, null), identity)

  const clearing = async (): Promise<void> => {
    const failures: unknown[] = []
    for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => failures.push(error))
    if (failures.length > 0) throw failures[0]
  }
  try {
    const controlToken = await signOn('control')
    const control = clientOf('control', controlToken)
    // What takes things away must also work when the run was broken off.
    const sweeper = clientOf('control', controlToken, AbortSignal.timeout(24 * 3_600_000))
    await removeStageObjects(control, reason)

    const stage: Stage = {
      runId: run.id,
      ...{ subject, urls, clock, signal, reason, control, parts },
      trail: {},
      search: deps.search,
      retention: {
        kept: deps.kept,
        isLed: async () => (await hasLeader(db, { name: LEADER })) !== undefined,
      },
      readSecret: (ref) => deps.readRef({ id: tenantId, slug: subject.slug }, ref),
      signOn: async () => {
        const token = await signOn('exec')
        parts.tokens = { control: controlToken, exec: token }
        parts.exec = clientOf('exec', token)
      },
      openTarget: async () => {
        const opened = await openTarget({ named: run.targetUrl, dial: deps.dial, runId: run.id, signal })
        if ('why' in opened) return opened.why
        undo.push(() => opened.close())
        await opened.seen('ok')
        parts.target = opened
        return undefined
      },
      addObjects: async () => {
        undo.push(() => removeStageObjects(sweeper, reason))
        parts.secrets = await addStageObjects(control, {
          baseUrl: part(stage, 'target').baseUrl,
          runId: run.id,
          live: subject.environment === 'prod',
          reason,
        })
        const breaker = `/breakers/${CONNECTORS.hasty}`
        const forced = { body: { state: 'closed', for_ms: FORCED_MS, reason } }
        await control.want(`${breaker}/force`, forced)
        await control.call(`${breaker}/release`, { body: { reason } })
      },
      enterNeighbour: async () => {
        await waitForNeighbour(db, { tenantId, id: run.id, clock, signal })
        const entered = await enterNeighbour(deps, {
          change,
          reason,
          baseUrl: part(stage, 'target').baseUrl,
          signal,
        })
        undo.push(() => entered.leave())
        parts.neighbour = entered
      },
    }
    return { stage, clear: clearing }
  } catch (error) {
    await clearing().catch(() => undefined)
    throw error
  }
}

/** Runs of other workspaces may be at it. */
const waitForNeighbour = (
  db: Db,
  { tenantId, id, clock, signal }: { tenantId: string; id: string; clock: Clock; signal: AbortSignal },
): Promise<boolean> =>
  eventually({ clock, signal, withinMs: NEIGHBOUR_WITHIN_MS }, 'The neighbour was not free', async () => {
    await breakOffNeighbour(db, { silentMs: SILENT_MS })
    try {
      await takeNeighbour(db, { tenantId, id })
      return { found: true }
    } catch (error) {
      if (!violatesUnique(error, 'onboarding_run_one_neighbour')) throw error
      return { seen: 'the verification of another workspace has it' }
    }
  })
