import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { type Api, everyPage } from './api.ts'
import { type Command, print } from './command.ts'
import { controlApi, findWorkspace } from './control-api.ts'

interface Workspace {
  readonly id: string
  readonly slug: string
  readonly name: string
  readonly status: string
  readonly status_change: { readonly reason: string; readonly by: string; readonly since: string } | null
  readonly delete_after: string | null
  readonly template: string | null
}

const OPTIONS = {
  name: { type: 'string' },
  template: { type: 'string' },
  reason: { type: 'string' },
  confirm: { type: 'string' },
  'grace-days': { type: 'string' },
} as const
type Values = { readonly [Option in keyof typeof OPTIONS]?: string | undefined }

const USAGE = [
  'Say what to do:',
  '  workspace list',
  '  workspace create SLUG [--name NAME] [--template NAME] [--reason TEXT]',
  '  workspace suspend|resume|restore SLUG --reason TEXT',
  '  workspace delete SLUG --confirm SLUG --reason TEXT [--grace-days 0…30]',
].join('\n')

function line({ slug, name, status, status_change: change, delete_after: gone }: Workspace): string {
  const why = change ? `  ${change.reason} (${change.by}, ${change.since})` : ''
  const end = gone && status === 'deleting' ? `  data goes after ${gone}` : ''
  return `${slug.padEnd(40)}  ${status.padEnd(9)}  ${name}${why}${end}`
}

async function list(control: Api): Promise<void> {
  for await (const each of everyPage<Workspace>(control, '/workspaces')) print(line(each))
}

const needed = (value: string | undefined, what: string): string => {
  if (value === undefined || value.trim() === '') throw new StartRefused(`${what}\n\n${USAGE}`)
  return value
}
const reasonOf = ({ reason }: Values): string => needed(reason, 'Say why: --reason TEXT, for the audit log.')

const create = (control: Api, slug: string, { name = slug, template, reason }: Values): Promise<Workspace> =>
  control.post('/workspaces', {
    ...{ slug, name, reason: reason ?? 'made with `orchestrator workspace create`' },
    ...(template !== undefined && { template }),
  })

/** What is done to a workspace that is there: the path below it and the body. */
const CHANGES: Readonly<Record<string, (values: Values) => object>> = {
  suspend: (values) => ({ reason: reasonOf(values) }),
  resume: (values) => ({ reason: reasonOf(values) }),
  restore: (values) => ({ reason: reasonOf(values) }),
  delete: (values) => ({
    reason: reasonOf(values),
    confirm: needed(values.confirm, 'Type the name of the workspace once more: --confirm SLUG.'),
    ...(values['grace-days'] !== undefined && { grace_days: Number(values['grace-days']) }),
  }),
}

async function carryOut(
  config: Config,
  action: string,
  slug: string | undefined,
  values: Values,
): Promise<void> {
  const baseUrl = config.urls.control
  const control = await controlApi(config, baseUrl)
  if (action === 'list') return list(control)
  const name = needed(slug, 'Say which workspace.')
  if (action === 'create') return void print(line(await create(control, name, values)))
  const bodyOf = Object.hasOwn(CHANGES, action) ? CHANGES[action] : undefined
  if (!bodyOf) throw new StartRefused(USAGE)
  const body = bodyOf(values)
  const { id } = await findWorkspace(config, name, baseUrl)
  print(line(await control.post<Workspace>(`/workspaces/${id}/${action}`, body)))
}

/** What `/workspaces` of the control plane does, with the same checks. */
export const workspace: Command = {
  name: 'workspace',
  usage:
    'workspace list|create|suspend|resume|delete|restore [SLUG] [--name N] [--template T] [--reason R] …',
  summary: 'List, make, stop and remove workspaces (needs read access to the signing keys)',
  run: async (args) => {
    const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options: OPTIONS })
    const [action, slug, ...rest] = positionals
    if (action === undefined || rest.length > 0) throw new StartRefused(USAGE)
    await carryOut(loadConfig(), action, slug, values)
    return 0
  },
}
