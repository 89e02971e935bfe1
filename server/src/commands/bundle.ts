import { readFile, writeFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { type Api, type Fault, lineOf } from './api.ts'
import { type Command, print } from './command.ts'
import { controlApi, findWorkspace } from './control-api.ts'

interface Change {
  readonly object: string
  readonly name: string
  readonly action: 'create' | 'change' | 'remove'
  readonly differences: readonly {
    readonly path: string
    readonly before?: unknown
    readonly after?: unknown
  }[]
}

interface Plan {
  readonly valid: boolean
  readonly faults: readonly Fault[]
  readonly changes: readonly Change[]
  readonly unchanged: number
  readonly digest: string
}

interface Imported {
  readonly imported: boolean
  readonly active_version: number
}

const USAGE =
  'Say what to do: `bundle export|plan|apply --workspace SLUG [--file FILE] [--remap] [--reason TEXT]`; plan and apply need a file, - is standard input.'
/** As tools that plan have it: nothing to do, failed, something to do. */
const EXIT = { same: 0, failed: 1, changes: 2 } as const
const SIGNS = { create: '+', change: '~', remove: '-' } as const

/** Keys in a fixed order and no times: an export of the same workspace is the same text, and a diff shows changes only. */
function fixedText(bundle: Record<string, unknown>): string {
  const { exported_at: _when, ...lasting } = bundle
  return `${JSON.stringify(sorted(lasting), null, 2)}\n`
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1))
  // Not assigned one by one: `__proto__` is a key like any other.
  return Object.fromEntries(members.map(([key, member]) => [key, sorted(member)]))
}

/** The file is the one that was named, and none of the settings. */
const refused = (file: string, done: string) => (cause: NodeJS.ErrnoException) => {
  const why = cause.code === 'ENOENT' ? 'there is no such file or folder' : (cause.code ?? cause.message)
  throw new StartRefused(`The file ${file} cannot be ${done}: ${why}.`, { cause })
}

async function readBundle(file: string): Promise<unknown> {
  const read =
    file === '-' ? await text(process.stdin) : await readFile(file, 'utf8').catch(refused(file, 'read'))
  try {
    return JSON.parse(read)
  } catch (cause) {
    throw new StartRefused(`${file} is not JSON: ${(cause as Error).message}`, { cause })
  }
}

const shown = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value))

function printPlan({ changes, unchanged }: Plan): void {
  for (const { object, name, action, differences } of changes) {
    print(`${SIGNS[action]} ${object} ${name}`)
    if (action === 'change')
      for (const { path, before, after } of differences)
        print(`    ${path}: ${shown(before)} → ${shown(after)}`)
  }
  const count = (action: Change['action']): number => changes.filter((each) => each.action === action).length
  print(
    `${changes.length > 0 ? '\n' : ''}${count('create')} to create, ${count('change')} to change, ${count('remove')} to remove, ${unchanged} unchanged.`,
  )
}

async function planOf(control: Api, body: object): Promise<Plan> {
  const plan = await control.post<Plan>('/bundle/plan', body)
  if (!plan.valid)
    throw new StartRefused(['The bundle cannot be imported:', ...plan.faults.map(lineOf)].join('\n'))
  return plan
}

async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      workspace: { type: 'string' },
      file: { type: 'string' },
      remap: { type: 'boolean', default: false },
      reason: { type: 'string', default: 'orchestrator bundle apply' },
    },
  })
  const [action, ...rest] = positionals
  const { workspace: slug, file, reason } = values
  if (slug === undefined || rest.length > 0 || !['export', 'plan', 'apply'].includes(action ?? ''))
    throw new StartRefused(USAGE)
  if (action !== 'export' && file === undefined) throw new StartRefused(USAGE)
  const config = loadConfig()
  const workspace = await findWorkspace(config, slug)
  const control = await controlApi(config, config.urls.control, workspace.id)
  if (action === 'export') {
    const bundle = fixedText(await control.get<Record<string, unknown>>('/bundle/export'))
    if (file === undefined || file === '-') process.stdout.write(bundle)
    else await writeFile(file, bundle).catch(refused(file, 'written'))
    return EXIT.same
  }
  const body = { bundle: await readBundle(file ?? '-'), ...(values.remap && { as: slug }) }
  const plan = await planOf(control, body)
  printPlan(plan)
  if (action === 'plan') return plan.changes.length > 0 ? EXIT.changes : EXIT.same
  const done = await control.post<Imported>('/bundle/import', { ...body, plan: plan.digest, reason })
  print(
    done.imported
      ? `Done: version ${done.active_version} of the config of ${slug} is active.`
      : `Nothing to do: ${slug} is so already.`,
  )
  return EXIT.same
}

/** Makes a workspace live in git: its export is a file, and the file is planned and applied. */
export const bundle: Command = {
  name: 'bundle',
  usage: 'bundle export|plan|apply --workspace SLUG [--file FILE] [--remap] [--reason TEXT]',
  summary:
    'A workspace as a file: write it, see what a file would change (exit code 2: something), change it',
  run,
}
