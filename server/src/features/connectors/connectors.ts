/**
 * The door of the connectors feature (the functions follow in the next commits; their signatures are final):
 *
 *   checkConnector(name: string, config: unknown, options?: { refusal?: Dial['refusal'] }): ProblemDetail[]
 *     every fault with its path relative to the connector, e.g. `/settings/base_url`; empty = may be saved
 *   compileConnector({ name, lane, config }): Connector        Problem config_invalid when checkConnector finds faults
 *   findOperation(connector, operation): ConnectorOperation    Problem operation_not_found
 *   invokeOperation(deps, connector, operation, input, attempt): Promise<InvokeResult>
 *     exactly ONE attempt. Throws CallFailure; Problem secret_unresolved; Problem operation_not_found
 *   listKinds(): KindDescription[]        describeOperations(connector): OperationDescription[]
 */
import type { Clock } from '../../platform/clock.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import type { Secret } from '../../platform/secret.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { InvokeContext, Operation } from './define-connector.ts'

/** One operation of a compiled connector. */
export interface ConnectorOperation extends Operation {
  readonly name: string
  /** safe or takesIdempotencyKey: what the retry rules ask. */
  readonly repeatable: boolean
  /** Throws Problem `input_invalid` with every fault; paths start with `path` (default `/body/input`). */
  validateInput(input: unknown, path?: string): void
  /** Faults of an answer against the output schema. */
  validateOutput(output: unknown): readonly ProblemDetail[]
}

/** A connector of one config version, ready to be called. */
export interface Connector {
  readonly name: string
  readonly kind: string
  /** The connector's number in its workspace (`connector_lane`). */
  readonly lane: number
  /** Name of its policy; undefined = the default policy. */
  readonly policy: string | undefined
  readonly settings: unknown
  /** Secret of the kind → name of the secret ref. */
  readonly secretRefs: Readonly<Record<string, string>>
  readonly operations: ReadonlyMap<string, ConnectorOperation>
}

export interface InvokeDeps {
  readonly dial: Dial
  readonly clock: Clock
  /** The value behind a secret ref of the workspace; throws Problem `secret_unresolved`. */
  resolveSecret(refName: string): Promise<Secret>
}

/** What differs per attempt; see `InvokeContext` for the meaning of each field. */
export type Attempt = Pick<
  InvokeContext,
  'signal' | 'connectTimeoutMs' | 'remainingMs' | 'idempotencyKey' | 'attemptToken' | 'traceparent'
>
