import type { ProblemDetail } from '../../problems.ts'
import { checkDocument } from '../configs/configs.ts'
import { routeFaults, settingsOf } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceEntry } from '../workspaces/workspaces.ts'
import type { BundleDeps } from './bundle-deps.ts'
import { BUNDLE_FORMAT, type PlanBody } from './bundles.schema.ts'
import { cycleFaults } from './cycles.ts'
import { environmentFaults } from './environment-names.ts'
import { routeName } from './route-names.ts'
import type { CurrentState, WorkspaceState } from './workspace-state.ts'

const AT = '/body/bundle'

/** Every fault of a bundle that shows without leaving the process, but for what is stored elsewhere. */
export function checkBundle(
  deps: BundleDeps,
  workspace: WorkspaceEntry,
  { bundle, as }: PlanBody,
  before: CurrentState,
  after: WorkspaceState,
): ProblemDetail[] {
  return [
    ...(bundle.format === BUNDLE_FORMAT
      ? []
      : [{ path: `${AT}/format`, message: `is not known to this hub, which reads ${BUNDLE_FORMAT}` }]),
    ...originFaults(workspace, bundle.workspace, as),
    ...environmentFaults(workspace.environment, bundle),
    ...secretFaults(deps, before, after),
    ...checkDocument(after.document, {
      secretNames: new Set(after.secretRefs.map(({ name }) => name)),
      deliveries: [],
      refusal: deps.config.refusal,
      maxBytes: deps.config.maxBytes,
    }).map(({ path, message }) => ({ path: `${AT}/config${path}`, message })),
    ...bundledRouteFaults(deps, workspace, after),
    ...cycleFaults(after, deps.ingressUrls),
  ]
}

function originFaults(
  { slug }: WorkspaceEntry,
  from: PlanBody['bundle']['workspace'],
  as: string | undefined,
): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  if (!from.slug.endsWith(`-${from.environment}`))
    faults.push({ path: `${AT}/workspace/slug`, message: `must end in -${from.environment}` })
  if (as !== undefined && as !== slug)
    faults.push({ path: '/body/as', message: `must be the slug of this workspace, ${slug}` })
  if (as === undefined && from.slug !== slug)
    faults.push({
      path: `${AT}/workspace/slug`,
      message: `is another workspace than ${slug}; when that is meant, send "as": "${slug}"`,
    })
  return faults
}

/** The hub keeps a value under the name of its ref, and nowhere else. */
const storeFault = (name: string, ref: string): string | undefined =>
  ref.startsWith('store://') && ref !== `store://${name}` ? `must be store://${name}` : undefined

function secretFaults({ secrets }: BundleDeps, before: CurrentState, after: WorkspaceState): ProblemDetail[] {
  const names = new Set<string>()
  const faults = after.secretRefs.flatMap(({ name, ref }, at): ProblemDetail[] => {
    const twice = names.has(name)
    names.add(name)
    // What is stored already is no news, and the store knows best what it takes.
    const known = before.secretRefs.some((each) => each.name === name && each.ref === ref)
    const fault = known ? undefined : (secrets.refFault(ref) ?? storeFault(name, ref))
    return [
      ...(twice ? [{ path: `${AT}/secret_refs/${at}/name`, message: 'is there twice' }] : []),
      ...(fault === undefined ? [] : [{ path: `${AT}/secret_refs/${at}/ref`, message: fault }]),
    ]
  })
  const kept = before.secretRefs.filter(({ name, ref }) => ref.startsWith('store://') && !names.has(name))
  return [
    ...faults,
    ...kept.map(({ name }) => ({
      path: `${AT}/secret_refs`,
      message: `does not name ${name}, whose value this hub keeps and would lose: name it, or delete the secret first`,
    })),
  ]
}

function bundledRouteFaults(
  deps: BundleDeps,
  { environment }: WorkspaceEntry,
  after: WorkspaceState,
): ProblemDetail[] {
  const { connectors } = after.document
  const around = {
    environment,
    providerFaults: deps.routeChecks.providerFaults,
    gapFaults: deps.routeChecks.gapFaults,
    kindOf: (name: string) => (Object.hasOwn(connectors, name) ? connectors[name]?.kind : undefined),
    secrets: new Set(after.secretRefs.map(({ name }) => name)),
    said: { connectors: 'the bundle', secrets: 'the bundle' },
  }
  const names = new Set<string>()
  const ownSecrets = new Set<string>()
  return after.routes.flatMap((route, at): ProblemDetail[] => {
    const path = `${AT}/webhook_routes/${at}`
    const name = routeName(route)
    const own = route.account === null ? route.secret_refs.map((each) => `${route.provider} ${each}`) : []
    const faults: (ProblemDetail | false)[] = [
      names.has(name) && { path, message: 'is there twice: an account has one route' },
      !names.has(name) &&
        own.some((each) => ownSecrets.has(each)) && {
          path: `${path}/secret_refs`,
          message: 'another route for the own account of this provider uses one of them',
        },
      ...routeFaults(settingsOf(route, path), around).map((fault) => ({
        path: `${path}${fault.path}`,
        message: fault.message,
      })),
    ]
    names.add(name)
    for (const each of own) ownSecrets.add(each)
    return faults.filter((fault) => fault !== false)
  })
}
