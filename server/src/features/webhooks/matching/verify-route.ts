import { randomUUID } from 'node:crypto'
import { setImmediate as letOthersRun } from 'node:timers/promises'
import type { Log } from '../../../platform/log.ts'
import { Secret, secretFingerprint } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import { isStoreAway } from '../../secrets/secrets.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { WorkspaceDirectory, WorkspaceEntry } from '../../workspaces/workspaces.ts'
import type { AnyProvider, ProviderTools, SignedRequest, Verdict, VerifyFailure } from '../provider.ts'
import { type CheckBudget, workOf } from './check-budget.ts'

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
  /** With how many secrets the body was checked, at most: each of them hashes all of it. */
  readonly checks: number
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
  /** For the routes that the request was addressed to, by id or account. */
  verify(routes: readonly WebhookRoute[]): Promise<readonly RouteVerdict[]>
  /** For routes that it was not addressed to: nothing is asked for at a stranger's wish. */
  recognize(routes: readonly WebhookRoute[]): Promise<readonly RouteVerdict[]>
  /** For routes that it only may be meant for. Undefined: a large body, and too many of those at this moment. */
  verifyWithinBudget(routes: readonly WebhookRoute[]): Promise<readonly RouteVerdict[] | undefined>
  /** Does the work of so many checks and nothing else, so that the time of a refusal does not tell what there was to check. */
  pretend(checks: number): Promise<void>
  /** Every verdict so far. */
  verdicts(): Promise<readonly RouteVerdict[]>
}

/** Stands where there is no secret to check. */
const NOBODY = new Secret(randomUUID())
/** A check hashes the whole body: after so much work other requests have their turn. */
const AT_ONCE = { checks: 16, bytes: 1_048_576 }
/** Of a larger body each single check is enough for others to wait. */
export const LARGE_BODY_BYTES = 262_144

export function createRouteVerifier(
  deps: VerifyDeps & { readonly budget: CheckBudget },
  { provider, signed }: { readonly provider: AnyProvider; readonly signed: SignedRequest },
): RouteVerifier {
  const known = new Map<string, Promise<RouteVerdict>>()
  const bytes = signed.raw.length

  const verifyOnce = (route: WebhookRoute, tools: ProviderTools): Promise<RouteVerdict> => {
    const verdict = known.get(route.id) ?? verifyRoute({ ...deps, tools }, provider, signed, route)
    known.set(route.id, verdict)
    return verdict
  }

  const verifyWith = async (routes: readonly WebhookRoute[], tools: ProviderTools) => {
    const verdicts: RouteVerdict[] = []
    let waiting: Promise<RouteVerdict>[] = []
    let checks = 0
    for (const route of routes) {
      checks += nominalChecks([route])
      waiting.push(verifyOnce(route, tools))
      if (checks < AT_ONCE.checks && workOf(checks, bytes) < AT_ONCE.bytes) continue
      verdicts.push(...(await Promise.all(waiting)))
      await letOthersRun()
      waiting = []
      checks = 0
    }
    verdicts.push(...(await Promise.all(waiting)))
    return verdicts
  }

  const verify: RouteVerifier['verify'] = (routes) => verifyWith(routes, deps.tools)

  return {
    verify,
    recognize: (routes) => verifyWith(routes, {}),
    verifyWithinBudget: async (routes) => {
      const unasked = routes.filter(({ id }) => !known.has(id))
      const work = workOf(nominalChecks(unasked), bytes)
      return deps.budget.takeUnlessSmall(provider.name, work) ? verify(routes) : undefined
    },
    pretend: async (checks) => {
      // Where the settings of a route say how to check, every route was asked: there is nothing to hide.
      if (provider.readsBySettings === true) return
      for (let done = 0; done < checks; done += 1) {
        if (done > 0 && (bytes > LARGE_BODY_BYTES || done % AT_ONCE.checks === 0)) await letOthersRun()
        await provider.verify(signed, [NOBODY], {}, {})
      }
    },
    verdicts: () => Promise.all(known.values()),
  }
}

/** How many checks the routes take when each of their secrets has one value. */
export const nominalChecks = (routes: readonly WebhookRoute[]): number =>
  routes.reduce((sum, { secretRefs }) => sum + secretRefs.length, 0)

/** As `verify` of the provider; with a large body one secret at a time, and others have their turn between two. */
async function checkSecrets(
  { tools }: VerifyDeps,
  provider: AnyProvider,
  signed: SignedRequest,
  secrets: readonly Secret[],
  settings: WebhookRoute['settings'],
): Promise<Verdict> {
  if (signed.raw.length <= LARGE_BODY_BYTES) return provider.verify(signed, secrets, settings, tools)
  let verdict: Verdict = { verified: false, cause: 'no_usable_secret' }
  for (const secret of secrets) {
    const each = await provider.verify(signed, [secret], settings, tools)
    if (each.verified || (each.cause !== 'signature_mismatch' && each.cause !== 'no_usable_secret'))
      return each
    if (each.cause === 'signature_mismatch') verdict = each
    await letOthersRun()
  }
  return verdict
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
  const verdict = await checkSecrets(deps, provider, signed, secrets, route.settings)
  const about = { route, workspace, absent, checks: secrets.length }
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
