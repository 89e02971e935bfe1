import type { Dial } from '../../platform/dial/dial.ts'
import { type SeenRequest, startFaultTarget } from './fault-target.ts'
import { NotShown } from './verdict.ts'

/** The fault-injecting target as one run sees it. */
export interface Target {
  /** Where the run's connectors point. */
  readonly baseUrl: string
  seen(name: SeenRequest['name']): Promise<SeenRequest[]>
  mend(): Promise<void>
  close(): Promise<void>
}

/** Why there is no target: nothing that a change of the workspace could mend. */
export interface NoTarget {
  readonly why: string
}

const HOST = '127.0.0.1'
const MAX_ANSWER_BYTES = 64 * 1024 * 1024
const CONNECT_MS = 3_000

/**
 * The target that was named, else one of our own on loopback, when the hub may call loopback at all. It is asked
 * through the guarded dial: whoever names a target must not reach more by it than by a connector.
 */
export async function openTarget(of: {
  readonly named: string | undefined
  readonly dial: Dial
  readonly runId: string
  readonly signal: AbortSignal
}): Promise<Target | NoTarget> {
  const { named, dial, runId, signal } = of
  const refusal = dial.refusal(named ?? `http://${HOST}:1/`)
  if (refusal !== undefined)
    return {
      why: `This hub must not call ${named ?? 'loopback'} (${refusal}). Run \`orchestrator onboard target\` where it may, and name it: --target URL or VERIFY_TARGET_URL.`,
    }
  const own = named === undefined ? await startFaultTarget({ host: HOST, port: 0 }) : undefined
  const baseUrl = `${(own?.url ?? named ?? '').replace(/\/$/, '')}/runs/${runId}`
  const ask = async (method: 'GET' | 'POST', name: string): Promise<string> => {
    const answer = await dial
      .request({
        method,
        url: `${baseUrl}/${name}`,
        headers: { accept: 'application/json' },
        signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
        connectTimeoutMs: CONNECT_MS,
        maxResponseBytes: MAX_ANSWER_BYTES,
      })
      .catch((error: Error) => {
        throw new NotShown(
          `The fault-injecting target ${baseUrl} does not answer (${error.message}).`,
          'Start `orchestrator onboard target`, or name one that runs: --target URL or VERIFY_TARGET_URL.',
        )
      })
    if (answer.status !== 200)
      throw new NotShown(
        `The fault-injecting target ${baseUrl} answered ${answer.status}.`,
        'Name the address of an `orchestrator onboard target`.',
      )
    return answer.body.toString('utf8')
  }
  return {
    baseUrl,
    seen: async (name) => {
      const { seen } = JSON.parse(await ask('GET', 'seen')) as { seen: SeenRequest[] }
      return seen.filter((request) => request.name === name)
    },
    mend: async () => {
      await ask('POST', 'mend')
    },
    close: async () => own?.close(),
  }
}
