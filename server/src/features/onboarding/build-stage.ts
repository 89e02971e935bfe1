import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import type { Change } from '../audit/audit.ts'
import { LEADER } from '../retention/retention.ts'
import type { ReadRef } from '../secrets/secrets.ts'
import { eventually } from './eventually.ts'
import { enterNeighbour } from './neighbour.ts'
import { breakOffNeighbour, clearedRuns, hasLeader, holdsNeighbour, takeNeighbour } from './onboarding.sql.ts'
import { planeClient } from './plane-client.ts'
import type { Step } from './plane-documents.ts'
import { removeStageObjects } from './remove-objects.ts'
import { endRunIdentities, makeRunIdentity, takeToken } from './run-identity.ts'
import { part, type Stage, type StageParts, type StageUrls, type Subject } from './stage.ts'
import { CONNECTORS } from './stage-names.ts'
import { addStageObjects } from './stage-objects.ts'
import { SILENT_MS } from './sweep.ts'
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

const NEIGHBOUR_WITHIN_MS = 60_000
/** The breaker that an earlier run has opened is forced closed until the check that needs it has seen so. */
const FORCED_MS = 15_000

export interface StagedRun {
  readonly id: string
  readonly subject: Subject
  readonly change: Change
  readonly reason: string
  readonly targetUrl: string | undefined
  readonly signal: AbortSignal
  /** Ends the run at once, when it was taken for dead and another one may have begun. */
  lose(): never
}

/**
 * Builds the stage of one run. `clear` takes away everything that was made since, whatever else has failed, and
 * nothing of another run.
 */
export async function buildStage(
  deps: StageDeps,
  run: StagedRun,
): Promise<{ readonly stage: Stage; clear(): Promise<void> }> {
  const { db, clock, urls } = deps
  const { id: runId, subject, change, reason, signal } = run
  const { tenantId } = subject
  const parts: StageParts = {}
  const undo: (() => Promise<unknown>)[] = []

  const identity = await makeRunIdentity(db, { tenantId, change })
  undo.push(() => endRunIdentities(db, { tenantId, change, only: identity.id }))
  const clientOf = (name: keyof StageUrls & string, token: string | null, until = signal) =>
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

    const stage: Stage = {
      ...{ runId, subject, urls, clock, signal, reason, control, parts },
      ingress: clientOf('ingress', null),
      trail: {},
      search: deps.search,
      retention: {
        kept: deps.kept,
        isLed: async () => (await hasLeader(db, { name: LEADER })) !== undefined,
      },
      readSecret: (ref) => deps.readRef({ id: tenantId, slug: subject.slug }, ref),
      sweep: async () => {
        await removeStageObjects(control, { reason })
        await clearedRuns(db, { tenantId, before: runId })
      },
      signOn: async () => {
        const token = await signOn('exec')
        parts.tokens = { control: controlToken, exec: token }
        parts.exec = clientOf('exec', token)
      },
      openTarget: async () => {
        const opened = await openTarget({ named: run.targetUrl, dial: deps.dial, runId, signal })
        if ('why' in opened) return opened.why
        undo.push(() => opened.close())
        await opened.seen('ok')
        parts.target = opened
        return undefined
      },
      addObjects: async () => {
        let step: Step | undefined
        undo.push(() => removeStageObjects(sweeper, { reason, runId, step }))
        const added = await addStageObjects(control, {
          baseUrl: part(stage, 'target').baseUrl,
          runId,
          live: subject.environment === 'prod',
          reason,
        })
        step = added.step
        parts.secrets = added.secrets
        const forced = { body: { state: 'closed', for_ms: FORCED_MS, reason } }
        await control.want(`/breakers/${CONNECTORS.hasty}/force`, forced)
      },
      enterNeighbour: async () => {
        await waitForNeighbour(db, { run, clock })
        const entered = await enterNeighbour(deps, {
          change,
          reason,
          baseUrl: part(stage, 'target').baseUrl,
          signal,
          holds: async () => (await holdsNeighbour(db, { tenantId, id: runId })) !== undefined,
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
  { run, clock }: { readonly run: StagedRun; readonly clock: Clock },
): Promise<boolean> => {
  const wait = { clock, signal: run.signal, withinMs: NEIGHBOUR_WITHIN_MS }
  return eventually(wait, 'The neighbour was not free', async () => {
    await breakOffNeighbour(db, { silentMs: SILENT_MS })
    try {
      const taken = await takeNeighbour(db, { tenantId: run.subject.tenantId, id: run.id })
      return taken ? { found: true } : run.lose()
    } catch (error) {
      if (!violatesUnique(error, 'onboarding_run_one_neighbour')) throw error
      return { seen: 'the verification of another workspace has it' }
    }
  })
}
