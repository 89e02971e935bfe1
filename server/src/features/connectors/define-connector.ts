import type { Static, TObject } from 'typebox'
import type { Clock } from '../../platform/clock.ts'
import type { ConnectTarget, Dial } from '../../platform/dial/dial.ts'
import type { Secret } from '../../platform/secret.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { PolicyDocument } from '../policies/policies.ts'

/** A JSON Schema (draft 2020-12) as plain JSON. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** One attempt of one operation, as a kind's code sees it. */
export interface InvokeContext {
  /** Fits the operation's input schema. */
  readonly input: unknown
  readonly secrets: Readonly<Record<string, Secret>>
  readonly dial: Dial
  readonly clock: Clock
  /** Aborts at the attempt's time limit, at cancellation and at shutdown. */
  readonly signal: AbortSignal
  readonly connectTimeoutMs: number
  /** What is left of the total deadline; for upstreams that take a time limit. */
  readonly remainingMs: number
  /** The same on every attempt of one piece of work. */
  readonly idempotencyKey: string
  /** Different on every attempt; sent as `x-orchestrator-attempt`, so that both sides' logs can be matched. */
  readonly attemptToken: string
  /** W3C trace context to send on. */
  readonly traceparent: string
}

export interface InvokeResult {
  /** Plain JSON. */
  readonly output: unknown
  /** null where the upstream does not speak HTTP. */
  readonly httpStatus: number | null
}

/** What a dry run knows. No dial: it shows what would be sent and talks to nobody. */
export type DryRunContext = Pick<InvokeContext, 'input' | 'secrets' | 'clock' | 'idempotencyKey'>

/** One look at an upstream, as a kind's code sees it. */
export type HealthContext = Pick<InvokeContext, 'secrets' | 'dial' | 'clock' | 'signal' | 'connectTimeoutMs'>

export interface Health {
  readonly healthy: boolean
  /** One sentence for people: what was tried and what came of it. */
  readonly message: string
  /** Plain JSON for people: a status, a version, a region. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** A place that settings point to, with the path of the setting: a URL, or a host and port without HTTP. */
export type Target = { readonly path: string } & ({ readonly url: string } | ConnectTarget)

export interface Operation {
  readonly title: string
  readonly description: string
  readonly input: JsonSchema
  readonly output: JsonSchema
  /** It only reads: repeating the call does no harm, and its answer may be shared. */
  readonly safe: boolean
  /** It has an effect, but a repetition has no second one by its nature: HTTP's PUT and DELETE. */
  readonly idempotent?: boolean
  /** The upstream recognises our idempotency key, so that repeating has no second effect. */
  readonly takesIdempotencyKey: boolean
  /** Where only some inputs go out with the key: whether this one does. Absent = every one. */
  sendsKey?(input: unknown): boolean
  /** Faults of an input that fits the schema but that the kind cannot send; paths are relative to the input. */
  checkInput?(input: unknown): readonly ProblemDetail[]
  /**
   * Exactly one attempt: no retries here, the pipeline is the one layer that retries. An attempt may still be
   * several requests: a token before it, once more after a 401, the pages of a list. Throws `CallFailure`
   * (with `effect` where neither class nor HTTP status says what the attempt has done), a `DialFailure` as it came from `dial`, or Problem `secret_unresolved` for a secret that cannot be used.
   */
  invoke(context: InvokeContext): Promise<InvokeResult>
  /**
   * What `invoke` would send: plain JSON for people, without network. Secrets, and what is made of them
   * (signatures, tokens), stand in it as `MASK` of scrub.ts. Throws as `invoke` does for what cannot be sent.
   */
  dryRun(context: DryRunContext): unknown
}

export interface SecretSpec {
  readonly title: string
  readonly description: string
  readonly required: boolean
}

/** A connector kind with its settings typed: what a file in `kinds/` hands to `defineConnector`. */
export interface ConnectorDefinition<Settings extends TObject, SecretName extends string> {
  /** Name in configs; lower case. */
  readonly kind: string
  readonly title: string
  readonly description: string
  /** Every field with title and description: the console draws its form from it. */
  readonly settings: Settings
  readonly secrets: Readonly<Record<SecretName, SecretSpec>>
  /** What calls of this kind need where no policy of the workspace says otherwise. */
  readonly policy?: PolicyDocument | ((settings: Static<Settings>) => PolicyDocument)
  /**
   * Faults that the settings' schema cannot say; paths are relative to the connector (`/settings/…`,
   * `/secrets/…`). Called with settings that fit the schema.
   */
  check?(settings: Static<Settings>, secretNames: readonly string[]): readonly ProblemDetail[]
  /** What of the settings will be dialled: refused when it is saved if it never can be. */
  targets?(settings: Static<Settings>): readonly Target[]
  /** The operations that settings without faults give. Called once per compiled connector. */
  operations(settings: Static<Settings>): Readonly<Record<string, Operation>>
  /**
   * One cheap, harmless call that proves settings and secrets as far as the upstream lets it. An upstream that
   * says no is an answer (`healthy: false`); it throws as `invoke` does when there is none.
   */
  checkHealth(settings: Static<Settings>, context: HealthContext): Promise<Health>
}

/** A connector kind as the registry holds it; `unknown` settings have been checked against the schema. */
export interface ConnectorKind {
  readonly kind: string
  readonly title: string
  readonly description: string
  readonly settings: TObject
  readonly secrets: Readonly<Record<string, SecretSpec>>
  policy(settings: unknown): PolicyDocument
  check(settings: unknown, secretNames: readonly string[]): readonly ProblemDetail[]
  targets(settings: unknown): readonly Target[]
  operations(settings: unknown): Readonly<Record<string, Operation>>
  checkHealth(settings: unknown, context: HealthContext): Promise<Health>
}

/**
 * Makes a connector kind. The one place where checked settings get their type back: the registry holds kinds
 * of different settings side by side, and `checkConnector` has held them against the schema before.
 */
export function defineConnector<Settings extends TObject, SecretName extends string>(
  definition: ConnectorDefinition<Settings, SecretName>,
): ConnectorKind {
  const typed = (settings: unknown) => settings as Static<Settings>
  const { policy = {} } = definition
  return {
    kind: definition.kind,
    title: definition.title,
    description: definition.description,
    settings: definition.settings,
    secrets: definition.secrets,
    policy: (settings) => (typeof policy === 'function' ? policy(typed(settings)) : policy),
    check: (settings, secretNames) => definition.check?.(typed(settings), secretNames) ?? [],
    targets: (settings) => definition.targets?.(typed(settings)) ?? [],
    operations: (settings) => definition.operations(typed(settings)),
    checkHealth: (settings, context) => definition.checkHealth(typed(settings), context),
  }
}
