import type { Clock } from '../../platform/clock.ts'
import type { ReadRef } from '../secrets/secrets.ts'
import type { Neighbour } from './neighbour.ts'
import type { PlaneClient } from './plane-client.ts'
import type { StageSecrets } from './stage-objects.ts'
import type { Target } from './target.ts'
import type { SearchText } from './text-search.ts'

/** The workspace that is verified. */
export interface Subject {
  readonly tenantId: string
  readonly slug: string
  readonly environment: 'dev' | 'prod'
}

export interface StageUrls {
  readonly control: string
  readonly exec: string
  readonly ingress: string
  readonly worker: string
}

/** What earlier checks leave for later ones: ids of their work. */
export interface Trail {
  jobId?: string
  traceId?: string
  webhook?: { readonly payload: string; readonly inboxId: string }
}

/** What parts of the stage are made of when their check comes; reading one whose check did not pass throws. */
export interface StageParts {
  tokens?: Readonly<Record<'control' | 'exec', string>>
  exec?: PlaneClient
  target?: Target
  secrets?: StageSecrets
  neighbour?: Neighbour
}

/** Everything that checks work with. */
export interface Stage {
  readonly runId: string
  readonly subject: Subject
  readonly urls: StageUrls
  readonly clock: Clock
  /** Ends with the control process, or with the time that a run has. */
  readonly signal: AbortSignal
  /** For every change that is made over the API. */
  readonly reason: string
  /** As the run's own service identity. */
  readonly control: PlaneClient
  /** Nobody in particular, as a provider comes. */
  readonly ingress: PlaneClient
  readonly parts: StageParts
  readonly trail: Trail
  /** Takes away what earlier runs have left. */
  sweep(): Promise<void>
  /** Each makes a part; what it made is taken away at the end of the run. */
  signOn(): Promise<void>
  /** Gives why there is none, when there cannot be one. */
  openTarget(): Promise<string | undefined>
  addObjects(): Promise<void>
  enterNeighbour(): Promise<void>
  /** The values at a place that are accepted now, past every memory; a reading of ours is no use of the secret. */
  readSecret(ref: string): ReturnType<ReadRef>
  readonly search: SearchText
  readonly retention: { readonly kept: string; isLed(): Promise<boolean> }
}

/** A part that a check has named in its needs. */
export function part<Name extends keyof StageParts>(
  { parts }: Pick<Stage, 'parts'>,
  name: Name,
): NonNullable<StageParts[Name]> {
  const value = parts[name]
  if (value === undefined)
    throw new Error(`the part ${name} of the stage is not there: its check is not among the needs`)
  return value as NonNullable<StageParts[Name]>
}
