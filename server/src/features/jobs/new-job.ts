import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Clock } from '../../platform/clock.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import type { NewJob, Priority } from '../../queue/job.ts'
import type { ActiveConfig } from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import type { NewJobBody } from './jobs.schema.ts'

/** History is kept by the day: a job further ahead would hold its day's partition open for too long. */
const HORIZON_DAYS = 30
const DAY_MS = 86_400_000

export interface Caller {
  readonly principal: Principal
  readonly call: CallContext
}

/** The names of the connectors that the jobs need. */
export const connectorsOf = (bodies: readonly NewJobBody[]): string[] =>
  bodies.flatMap(({ connector, callback }) => (callback ? [connector, callback.connector] : [connector]))

/**
 * The job that a body asks for, by the active config. Throws one Problem with every fault in its details; its code
 * is that of the first: `connector_not_found`, `operation_not_found`, `input_invalid`, `validation_error`.
 */
export function newJob(
  config: ActiveConfig,
  clock: Clock,
  { principal, call }: Caller,
  body: NewJobBody,
  path: string,
): NewJob {
  const faults: Problem[] = []
  /** Goes on after a fault, to find the others. */
  const checked = <T>(check: () => T): T | undefined => {
    try {
      return check()
    } catch (error) {
      if (!(error instanceof Problem) || error.status >= 500) throw error
      faults.push(error)
      return undefined
    }
  }
  const active = checked(() => config.connector(body.connector, `${path}/connector`))
  const operation =
    active && checked(() => findOperation(active.connector, body.operation, `${path}/operation`))
  checked(() => operation?.validateInput(body.input, `${path}/input`))
  const { callback, run_at, expires_at } = body
  if (callback) checked(() => requireCallback(config, callback.connector, `${path}/callback/connector`))
  const runAt = run_at === undefined ? undefined : checked(() => startTime(clock, run_at, `${path}/run_at`))
  const expiresAt =
    expires_at === undefined
      ? undefined
      : checked(() => expiry(clock, runAt, expires_at, `${path}/expires_at`))
  if (active === undefined || faults.length > 0) throw inOne(faults, path)
  const { connector, configVersion } = active
  return {
    id: newId(),
    tenantId: principal.tenantId,
    queue: body.queue ?? 'default',
    lane: connector.lane,
    connector: connector.name,
    operation: body.operation,
    input: body.input,
    // Its range has been checked by the schema.
    ...(body.priority !== undefined && { priority: body.priority as Priority }),
    ...(runAt && { runAt }),
    ...(expiresAt && { expiresAt }),
    ...(body.metadata && { metadata: body.metadata }),
    ...(callback && { completion: { callback } }),
    configVersion,
    createdBy: principal.subject,
    call,
  }
}

function inOne(faults: readonly Problem[], path: string): Problem {
  const [first = fault(path, 'is no job'), ...others] = faults
  if (others.length === 0) return first
  const details = faults.flatMap(({ extra, message }) => extra.details ?? [{ path, message }])
  return new Problem(first.code, first.message, { ...first.extra, details })
}

const fault = (path: string, message: string): Problem =>
  new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })

function requireCallback(config: ActiveConfig, name: string, path: string): void {
  const kind = config.connectors.get(name)?.connector.kind
  if (kind === undefined) throw fault(path, 'is not a connector of the active config')
  if (kind !== 'callback') throw fault(path, 'is not a connector of kind callback')
}

function momentOf(clock: Clock, text: string, path: string): Date {
  const moment = new Date(text)
  const aheadMs = moment.getTime() - clock.now()
  // The schema's format takes some texts that name no moment here, leap seconds for one.
  if (Number.isNaN(aheadMs)) throw fault(path, 'is not a moment that the hub can read')
  if (aheadMs > HORIZON_DAYS * DAY_MS) throw fault(path, `must be at most ${HORIZON_DAYS} days ahead`)
  return moment
}

/** Undefined for a moment that has passed: the job runs at once. */
function startTime(clock: Clock, text: string, path: string): Date | undefined {
  const runAt = momentOf(clock, text, path)
  return runAt.getTime() > clock.now() ? runAt : undefined
}

function expiry(clock: Clock, runAt: Date | undefined, text: string, path: string): Date {
  const expiresAt = momentOf(clock, text, path)
  if (expiresAt.getTime() <= clock.now()) throw fault(path, 'has passed: the job could never start')
  if (runAt && expiresAt <= runAt) throw fault(path, 'must be after run_at')
  return expiresAt
}
