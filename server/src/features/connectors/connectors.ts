/**
 * The door of the connectors feature: from a connector in a config to one attempt of one of its operations.
 *
 * A connector is checked when its config is saved (`checkConnector`: every fault, with its path) and compiled when
 * a config becomes active (`compileConnector`). `invokeOperation` is exactly one attempt: time limits and retries
 * are the pipeline's, which repeats by the class of the `CallFailure` alone. Secrets are resolved per attempt,
 * live in memory only and are taken out of every answer. The kinds are files in `kinds/`, one line each in
 * `registry.ts`; nothing outside of this folder knows them.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { DialFailure } from '../../platform/dial/dial-failure.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { CallFailure } from '../../resilience/failure.ts'
import type { PolicyDocument } from '../policies/policies.ts'
import { failureOfDial } from './classify.ts'
import type { ConnectorConfig, KindDescription, OperationDescription } from './connectors.schema.ts'
import type { Health, InvokeContext, InvokeResult, Operation } from './define-connector.ts'
import { compileSchema } from './json-schema.ts'
import { findKind, KINDS } from './registry.ts'
import { scrubbing, scrubValue } from './scrub.ts'

export { CallFields, ConnectorName, Metadata, OperationName } from './call-fields.ts'
export { checkConnector } from './check-connector.ts'
export { ConnectorConfig, KindDescription, OperationDescription } from './connectors.schema.ts'
export type { Health, InvokeResult } from './define-connector.ts'

/** One operation of a compiled connector. */
export interface ConnectorOperation extends Operation {
  readonly name: string
  /** safe, idempotent or takesIdempotencyKey: what the retry rules ask. */
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
  /** What its kind needs where no policy says otherwise. */
  readonly kindPolicy: PolicyDocument
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

/**
 * Makes a connector callable. Its config has been checked when it was saved and is not checked again: a stricter
 * hub must not take down a workspace that runs. Errors: `config_invalid` for a kind that this hub does not have.
 */
export function compileConnector(of: {
  readonly name: string
  readonly lane: number
  readonly config: ConnectorConfig
}): Connector {
  const { name, lane, config } = of
  const kind = findKind(config.kind)
  if (!kind)
    throw new Problem('config_invalid', `The connector ${name} is of a kind that this hub does not have.`)
  const operations = Object.entries(kind.operations(config.settings)).map(
    ([operationName, operation]) => [operationName, compileOperation(operationName, operation)] as const,
  )
  return {
    name,
    kind: kind.kind,
    lane,
    policy: config.policy,
    kindPolicy: kind.policy(config.settings),
    settings: config.settings,
    secretRefs: config.secrets ?? {},
    operations: new Map(operations),
  }
}

function compileOperation(name: string, operation: Operation): ConnectorOperation {
  const checkInput = compileSchema(operation.input)
  const checkOutput = compileSchema(operation.output)
  return {
    ...operation,
    name,
    repeatable: operation.safe || operation.idempotent === true || operation.takesIdempotencyKey,
    validateInput: (input, path = '/body/input') => {
      const faults = checkInput(input, path)
      if (faults.length === 0) faults.push(...under(path, operation.checkInput?.(input) ?? []))
      if (faults.length > 0) throw inputInvalid(faults)
    },
    validateOutput: (output) => checkOutput(output, ''),
  }
}

const under = (prefix: string, faults: readonly ProblemDetail[]): ProblemDetail[] =>
  faults.map(({ path, message }) => ({ path: prefix + path, message }))

function inputInvalid(details: readonly ProblemDetail[]): Problem {
  const [first] = details
  const more = details.length > 1 ? `, and ${details.length - 1} more` : ''
  return new Problem('input_invalid', `${first?.path} ${first?.message}${more}.`, { details })
}

/** Whether the upstream will know our key again in a repetition of this very call. */
export const sendsKey = (operation: ConnectorOperation, input: unknown): boolean =>
  operation.takesIdempotencyKey && (operation.sendsKey?.(input) ?? true)

/** Errors: `operation_not_found`, with `path` (where the name stands) in its details. */
export function findOperation(
  connector: Connector,
  name: string,
  path = '/body/operation',
): ConnectorOperation {
  const operation = connector.operations.get(name)
  if (!operation)
    throw new Problem('operation_not_found', 'The connector has no such operation.', {
      details: [{ path, message: 'is not an operation of the connector' }],
    })
  return operation
}

/**
 * Exactly one attempt. Throws `CallFailure`, which says by its class whether it may be repeated; Problem
 * `secret_unresolved`, `operation_not_found` or `input_invalid` for what no attempt can mend.
 */
export async function invokeOperation(
  deps: InvokeDeps,
  connector: Connector,
  operationName: string,
  input: unknown,
  attempt: Attempt,
): Promise<InvokeResult> {
  const operation = findOperation(connector, operationName)
  const secrets = await resolveSecrets(deps, connector)
  const dial = scrubbing(deps.dial, inForce(secrets))
  let result: InvokeResult
  try {
    result = await operation.invoke({ ...attempt, input, secrets, dial, clock: deps.clock })
  } catch (error) {
    throw error instanceof DialFailure ? failureOfDial(error, operation.repeatable) : error
  }
  const [fault] = operation.validateOutput(result.output)
  if (fault) throw unfitOutput(result.httpStatus, fault)
  return result
}

/**
 * What `invokeOperation` would send, as plain JSON for people: nothing is dialled, and no secret is in it, but
 * each must resolve. Throws Problem `operation_not_found`, `input_invalid` or `secret_unresolved`.
 */
export async function dryRunOperation(
  { clock, resolveSecret }: Pick<InvokeDeps, 'clock' | 'resolveSecret'>,
  connector: Connector,
  operationName: string,
  input: unknown,
  idempotencyKey: string,
): Promise<unknown> {
  const operation = findOperation(connector, operationName)
  const secrets = await resolveSecrets({ resolveSecret }, connector)
  const preview = await operation.dryRun({ input, secrets, clock, idempotencyKey })
  return scrubValue(preview, inForce(secrets))
}

/**
 * Whether the upstream can be reached and takes the connector's secrets: one harmless call. Never throws for what
 * is wrong with the upstream, the settings or a secret: that is the answer.
 */
export async function checkConnectorHealth(
  deps: InvokeDeps,
  connector: Connector,
  limits: Pick<InvokeContext, 'signal' | 'connectTimeoutMs'>,
): Promise<Health> {
  const kind = findKind(connector.kind)
  if (!kind) throw new Error(`the connector ${connector.name} was compiled from a kind that is gone`)
  try {
    const secrets = await resolveSecrets(deps, connector)
    const dial = scrubbing(deps.dial, inForce(secrets))
    const health = await kind.checkHealth(connector.settings, { ...limits, secrets, dial, clock: deps.clock })
    return scrubValue(health, inForce(secrets)) as Health
  } catch (error) {
    if (error instanceof DialFailure) return unhealthy(error.message, error.class)
    if (error instanceof CallFailure) return unhealthy(error.message, error.kind)
    if (error instanceof Problem) return unhealthy(error.message, error.code)
    throw error
  }
}

const unhealthy = (message: string, cause: string): Health => ({
  healthy: false,
  message,
  details: { cause },
})

/** What must not come back out of a call: during a rotation also the older values. */
const inForce = (secrets: Readonly<Record<string, Secret>>): Secret[] =>
  Object.values(secrets).flatMap((secret) => secret.inForce())

async function resolveSecrets(
  deps: Pick<InvokeDeps, 'resolveSecret'>,
  connector: Connector,
): Promise<Record<string, Secret>> {
  const entries = Object.entries(connector.secretRefs)
  const values = await Promise.all(entries.map(([, refName]) => deps.resolveSecret(refName)))
  return Object.fromEntries(entries.flatMap(([name], at) => (values[at] ? [[name, values[at]]] : [])))
}

/** The call had its effect, so repeating is no remedy: the schema or the upstream has to change. */
function unfitOutput(httpStatus: number | null, { path, message }: ProblemDetail): CallFailure {
  return new CallFailure({
    class: 'permanent',
    effect: 'done',
    kind: 'output_invalid',
    message: `The upstream answered with success, but its answer does not fit the output schema: ${path || 'it'} ${message}.`,
    ...(httpStatus !== null && { httpStatus }),
  })
}

/** For `GET /connectors/kinds`. */
export const listKinds = (): KindDescription[] =>
  KINDS.map(({ kind, title, description, settings, secrets }) => ({
    kind,
    title,
    description,
    settings_schema: settings,
    secrets: Object.entries(secrets).map(([name, spec]) => ({ name, ...spec })),
  }))

/** For `GET /connectors/:name`. */
export const describeOperations = (connector: Connector): OperationDescription[] =>
  [...connector.operations.values()].map(
    ({ name, title, description, input, output, safe, idempotent, takesIdempotencyKey }) => ({
      name,
      title,
      description,
      input,
      output,
      safe,
      idempotent: idempotent ?? false,
      takes_idempotency_key: takesIdempotencyKey,
    }),
  )
