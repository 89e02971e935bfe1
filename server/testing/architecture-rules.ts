import { posix } from 'node:path'
import { readTree, type SourceFile, type Sources } from './source-tree.ts'

/** `file` breaks `rule`; `message` says what to do about it. */
export interface Violation {
  readonly rule: RuleName
  readonly file: string
  readonly message: string
}

type Rule = (tree: readonly SourceFile[]) => readonly { readonly file: string; readonly message: string }[]

const ROOT = 'server/src/'
const MANIFEST = 'server/package.json'
const CONFIG = `${ROOT}config.ts`
const CONFIG_FILES = [
  CONFIG,
  `${ROOT}config-schema.ts`,
  `${ROOT}config-payloads.ts`,
  `${ROOT}config-quarantine.ts`,
  `${ROOT}config-secrets.ts`,
  `${ROOT}config-sign-on.ts`,
  `${ROOT}config-faults.ts`,
]
/** From the ground up; a file imports from its own floor or one below. */
const FLOORS = [
  'problems',
  'platform',
  'resilience',
  'queue',
  'features',
  'config',
  'processes',
  'commands',
  'main',
] as const
const ADAPTER = /\.(exec|control|ingress|worker)\.ts$/
const MAX_LINES = 300
const MAX_TEST_LINES = 600
const NAMELESS = ['utils', 'helpers', 'common', 'misc', 'shared', 'lib', 'core', 'base', 'index']

const isTest = (path: string): boolean => /\.(test|conformance)\.ts$/.test(path)
const folderOf = posix.dirname

/** 0 for problems … 8 for main; -1 for a file of server/src that stands nowhere, undefined outside of it. */
function floorOf(path: string): number | undefined {
  if (!path.startsWith(ROOT)) return undefined
  const [first = '', ...rest] = path.slice(ROOT.length).split('/')
  // Parts of the config and the catalogue of the problems are files of their own, on the same floor.
  const name =
    rest.length === 0
      ? first.replace(
          /(-schema|-secrets|-sign-on|-payloads|-quarantine|-faults|(-failures)?-catalogue)?(\.test)?\.ts$/,
          '',
        )
      : first
  const single = name === 'problems' || name === 'config' || name === 'main'
  return single === (rest.length === 0) ? FLOORS.indexOf(name as (typeof FLOORS)[number]) : -1
}

const featureOf = (path: string): string | undefined => /^server\/src\/features\/([^/]+)\//.exec(path)?.[1]
const doorOf = (feature: string): string => `${ROOT}features/${feature}/${feature}.ts`

/** One violation per import for which `check` gives a sentence. */
const perImport =
  (check: (from: SourceFile, to: string) => string | undefined): Rule =>
  (tree) =>
    tree.flatMap((file) =>
      file.imports.flatMap((target) => {
        const message = check(file, target)
        return message === undefined ? [] : [{ file: file.path, message }]
      }),
    )

const perFile =
  (check: (file: SourceFile) => string | undefined): Rule =>
  (tree) =>
    tree.flatMap((file) => {
      const message = check(file)
      return message === undefined ? [] : [{ file: file.path, message }]
    })

/** The rules of DESIGN §3, each under the name that a failing test prints. */
export const RULES = {
  'every file stands on a floor': perFile(({ path }) =>
    floorOf(path) === -1 ? `put it under one of ${FLOORS.join(', ')}` : undefined,
  ),

  'imports point down': perImport(({ path }, to) => {
    const [from, target] = [floorOf(path), floorOf(to)]
    // config.ts has a rule of its own, .sql.ts and adapters too: one fault, one message.
    if (from === undefined || from < 0 || CONFIG_FILES.includes(to)) return undefined
    if (target !== undefined) return target > from ? `imports up: ${to}` : undefined
    return isTest(path) || to === MANIFEST ? undefined : `product code imports from outside server/src: ${to}`
  }),

  'product code imports no tests': perImport(({ path }, to) =>
    !isTest(path) && isTest(to) ? `imports ${to}` : undefined,
  ),

  'every import can be followed': perFile(({ path, computedImports }) =>
    path.startsWith(ROOT) && computedImports > 0
      ? 'a dynamic import must name its file literally'
      : undefined,
  ),

  'process.env only in config.ts': perFile(({ path, readsEnvironment }) =>
    /^(server\/(src|scripts)|sdk\/src)\//.test(path) && path !== CONFIG && readsEnvironment
      ? 'take the value as an argument; config.ts reads the environment'
      : undefined,
  ),

  'config.ts only from main and processes': perImport(({ path }, to) =>
    CONFIG_FILES.includes(to) && (floorOf(path) ?? FLOORS.length) < FLOORS.indexOf('config')
      ? 'values of the config travel down as arguments'
      : undefined,
  ),

  'features meet only at doors': perImport(({ path }, to) => {
    const feature = featureOf(to)
    if (feature === undefined || !path.startsWith(ROOT) || featureOf(path) === feature) return undefined
    const ruledElsewhere = ADAPTER.test(to) || to.endsWith('.sql.ts')
    return to === doorOf(feature) || ruledElsewhere ? undefined : `import ${doorOf(feature)} instead of ${to}`
  }),

  // Fixtures may arrange rows with the product's own statements: nothing of the product can reach them.
  '.sql.ts is private to its folder': perImport(({ path }, to) =>
    // Fixtures make rows and benches measure single statements; neither is part of the product.
    to.endsWith('.sql.ts') && folderOf(to) !== folderOf(path) && !/^(server\/testing|bench)\//.test(path)
      ? `imports ${to}`
      : undefined,
  ),

  'adapters are loaded only by their process': perImport(({ path }, to) => {
    const suffix = featureOf(to) === undefined ? undefined : ADAPTER.exec(to)?.[1]
    if (suffix === undefined || (isTest(path) && folderOf(path) === folderOf(to))) return undefined
    const loaders = [suffix, `${suffix}-routes`, 'all'].map((name) => `${ROOT}processes/${name}.ts`)
    return loaders.includes(path) ? undefined : `${to} is loaded only by ${loaders.join(', ')}`
  }),

  'no cycles, type imports included': (tree) =>
    cyclesOf(tree).map((cycle) => ({ file: cycle[0] ?? '', message: [...cycle, cycle[0]].join(' → ') })),

  'no nameless file': perFile(({ path }) => {
    const parts = path.split(/[/.]/)
    const found = parts.find((part) => NAMELESS.includes(part) || /-(utils?|helpers?)$/.test(part))
    return found === undefined ? undefined : `"${found}" says nothing: name the file after its content`
  }),

  'no file is too long': perFile(({ path, lines }) => {
    const limit = isTest(path) ? MAX_TEST_LINES : MAX_LINES
    return lines > limit ? `${lines} lines, at most ${limit}: split it by concept` : undefined
  }),
} as const satisfies Record<string, Rule>

export type RuleName = keyof typeof RULES

/** Every violation of every rule in a tree of sources. */
export function violationsIn(sources: Sources): readonly Violation[] {
  const tree = readTree(sources)
  return (Object.entries(RULES) as [RuleName, Rule][]).flatMap(([rule, find]) =>
    find(tree).map((violation) => ({ rule, ...violation })),
  )
}

/** Groups of files that reach each other (Tarjan's strongly connected components), each shown as one closed path. */
function cyclesOf(tree: readonly SourceFile[]): readonly string[][] {
  const files = new Map(tree.map((file) => [file.path, file]))
  const order = new Map<string, number>()
  const stack: string[] = []
  const cycles: string[][] = []
  const visit = (path: string): number => {
    const entered = order.size
    order.set(path, entered)
    stack.push(path)
    let lowest = entered
    for (const target of files.get(path)?.imports ?? []) {
      if (!files.has(target)) continue
      const reached = order.has(target)
        ? stack.includes(target)
          ? (order.get(target) ?? 0)
          : entered
        : visit(target)
      lowest = Math.min(lowest, reached)
    }
    if (lowest === entered) {
      const group = stack.splice(stack.indexOf(path))
      if (group.length > 1 || files.get(path)?.imports.includes(path)) cycles.push(closedPath(group, files))
    }
    return lowest
  }
  for (const path of files.keys()) if (!order.has(path)) visit(path)
  return cycles
}

/** The shortest way from the first file of a group back to itself, so that the message names the edge to cut. */
function closedPath(group: readonly string[], files: ReadonlyMap<string, SourceFile>): string[] {
  const start = group[0] ?? ''
  const queue = [[start]]
  const seen = new Set<string>()
  for (const path of queue) {
    for (const target of files.get(path.at(-1) ?? '')?.imports ?? []) {
      if (target === start) return path
      if (group.includes(target) && !seen.has(target)) {
        seen.add(target)
        queue.push([...path, target])
      }
    }
  }
  return [...group]
}
