import { randomUUID } from 'node:crypto'
import { setImmediate as letOthersRun } from 'node:timers/promises'
import type { Log } from '../../platform/log.ts'
import { Secret, secretFingerprint } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { isStoreAway } from '../secrets/secrets.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceDirectory, WorkspaceEntry } from '../workspaces/workspaces.ts'
import type { AnyProvider, ProviderTools, SignedRequest, VerifyFailure } from './provider.ts'

/** Which secret verified a request: kept with it, so that the check can be repeated. */
export interface Evidence {
  readonly secretRef: string
  /** Tells the values of a secret apart without telling them. */
  readonly secretFingerprint: string
}

/** A secret of a route that could not take part in a check. */
export interface AbsentSecret {
  readonly secretRef: string
  readonly why: 'unresolved' | 'outside_its_window'
}

export type RouteVerdict = {
  readonly route: WebhookRoute
  /** Undefined = not a workspace of this hub. */
  readonly workspace: WorkspaceEntry | undefined
  readonly absent: readonly AbsentSecret[]
} & (
  | { readonly verified: true; readonly evidence: Evidence }
  /** `secret_away`: nobody can say, the store of a signing secret cannot be read at the moment. */
  | { readonly verified: false; readonly cause: VerifyFailure | 'secret_away' }
)

export interface VerifyDeps {
  /** Errors: `secret_unresolved` when the ref leads to no value. */
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  readonly tools: ProviderTools
  readonly log: Log
}

/** Checks one request against routes: against each of them once, however many events of the request ask. */
export interface RouteVerifier {
  verify(routes: readonly WebhookRoute[]): Promise<readonly RouteVerdict[]>
  /** Does the work of a check and nothing else, so that the time of a refusal does not tell what there was to check. */
  pretend(): Promise<void>
  /** Every verdict so far. */
  verdicts(): Promise<readonly RouteVerdict[]>
}

/** Stands where there is no secret to check. */
const NOBODY = new Secret(randomUUID())
/** A check hashes the whole body: after so many of them other requests have their turn. */
const CHECKS_AT_ONCE = 16

export function createRouteVerifier(
  deps: VerifyDeps,
  { provider, signed }: { readonly provider: AnyProvider; readonly signed: SignedRequest },
): RouteVerifier {
  const known = new Map<string, Promise<RouteVerdict>>()

  const verifyOnce = (route: WebhookRoute): Promise<RouteVerdict> => {
    const verdict = known.get(route.id) ?? verifyRoute(deps, provider, signed, route)
    known.set(route.id, verdict)
    return verdict
  }

  return {
    verify: async (routes) => {
      const verdicts: RouteVerdict[] = []
      for (let from = 0; from < routes.length; from += CHECKS_AT_ONCE) {
        if (from > 0) await letOthersRun()
        const some = routes.slice(from, from + CHECKS_AT_ONCE)
        verdicts.push(...(await Promise.all(some.map(verifyOnce))))
      }
      return verdicts
    },
    pretend: async () => {
      // Where the settings of a route say how to check, every route was asked: there is nothing to hide.
      if (provider.readsBySettings !== true) await provider.verify(signed, [NOBODY], {}, deps.tools)
    },
    verdicts: () => Promise.all(known.values()),
  }
}

/** True when the secret counts at this moment. */
function inItsWindow({ secretWindows }: WebhookRoute, ref: string, atMs: number): boolean {
  const window = secretWindows.find(({ secretRef }) => secretRef === ref)
  return (
    window === undefined ||
    ((window.validFrom?.getTime() ?? -Infinity) <= atMs && atMs < (window.validUntil?.getTime() ?? Infinity))
  )
}

/**
 * Checks one route's secrets. One without a value verifies nothing, and must not hide that another one does; one
 * whose store is away may be the one that does. The secrets of a workspace that is being deleted verify nothing more.
 */
async function verifyRoute(
  deps: VerifyDeps,
  provider: AnyProvider,
  signed: SignedRequest,
  route: WebhookRoute,
): Promise<RouteVerdict> {
  const workspace = await deps.workspaces.find(route.tenantId)
  const refs = new Map<Secret, string>()
  const absent: AbsentSecret[] = []
  let away = false
  for (const secretRef of workspace?.status === 'deleting' ? [] : route.secretRefs) {
    if (!inItsWindow(route, secretRef, signed.nowMs)) {
      absent.push({ secretRef, why: 'outside_its_window' })
      continue
    }
    try {
      const secret = await deps.resolveSecret(route.tenantId, secretRef)
      for (const accepted of secret.inForce()) refs.set(accepted, secretRef)
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'secret_unresolved')) throw error
      away ||= isStoreAway(error)
      absent.push({ secretRef, why: 'unresolved' })
    }
  }
  // With nobody's secret in place of those that are missing: what is no signature at all is refused as ever, in the same time.
  const standIn = away || refs.size === 0
  const secrets = [...refs.keys(), ...(standIn ? [NOBODY] : [])]
  const verdict = await provider.verify(signed, secrets, route.settings, deps.tools)
  const about = { route, workspace, absent }
  if (!verdict.verified) return { ...about, verified: false, cause: causeOf(verdict.cause, away, refs.size) }
  const secretRef = refs.get(verdict.secret)
  if (secretRef === undefined) throw new Error('the provider accepted a secret that it was not given')
  return {
    ...about,
    verified: true,
    evidence: { secretRef, secretFingerprint: secretFingerprint(verdict.secret) },
  }
}

function causeOf(cause: VerifyFailure, away: boolean, usable: number): VerifyFailure | 'secret_away' {
  if (cause !== 'signature_mismatch') return cause
  if (away) return 'secret_away'
  return usable === 0 ? 'no_usable_secret' : cause
}
