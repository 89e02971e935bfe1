import { canonicalJson } from '../../platform/canonical-json.ts'
import { differences } from '../configs/configs.ts'
import type { Change } from './bundles.schema.ts'
import { routeName } from './route-names.ts'
import type { WorkspaceState } from './workspace-state.ts'

type Members = ReadonlyMap<string, unknown>

/** What makes the workspace `after` of the workspace `before`, in the order of objects and names. */
export function changesBetween(
  before: WorkspaceState,
  after: WorkspaceState,
): { readonly changes: Change[]; readonly unchanged: number } {
  const parts = [
    [
      'policy',
      new Map(Object.entries(before.document.policies)),
      new Map(Object.entries(after.document.policies)),
    ],
    [
      'connector',
      new Map(Object.entries(before.document.connectors)),
      new Map(Object.entries(after.document.connectors)),
    ],
    ['secret_ref', refsOf(before), refsOf(after)],
    ['webhook_route', routesOf(before), routesOf(after)],
  ] as const satisfies readonly (readonly [Change['object'], Members, Members])[]
  const changes = parts.flatMap(([object, was, is]) => changesOf(object, was, is))
  const objects = parts.reduce((sum, [, was, is]) => sum + new Set([...was.keys(), ...is.keys()]).size, 0)
  return { changes, unchanged: objects - changes.length }
}

const refsOf = ({ secretRefs }: WorkspaceState): Members =>
  new Map(secretRefs.map(({ name, ref }) => [name, { ref }]))

const routesOf = ({ routes }: WorkspaceState): Members =>
  new Map(routes.map((route) => [routeName(route), route]))

function changesOf(object: Change['object'], before: Members, after: Members): Change[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort()
  return names.flatMap((name): Change[] => {
    const [was, is] = [before.get(name), after.get(name)]
    if (canonicalJson(was ?? null) === canonicalJson(is ?? null)) return []
    if (is === undefined)
      return [{ object, name, action: 'remove', differences: [{ path: '', before: was }] }]
    if (was === undefined) return [{ object, name, action: 'create', differences: [{ path: '', after: is }] }]
    return [
      { object, name, action: 'change', differences: differences(was, is).map((each) => ({ ...each })) },
    ]
  })
}
