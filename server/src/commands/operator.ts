import { parseArgs } from 'node:util'
import { loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { type Api, everyPage } from './api.ts'
import { box, type Command, print } from './command.ts'
import { controlApi, findWorkspace } from './control-api.ts'

const USAGE = 'operator list | invite EMAIL --role ROLE [--workspace SLUG] [--hours N] | reset-mfa EMAIL'
const REASON = 'orchestrator operator'

interface OperatorSummary {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly second_factor: boolean
  readonly locked_at: string | null
  readonly roles: readonly { readonly workspace_id: string | null; readonly role: string }[]
}

const operatorsOf = (control: Api): AsyncGenerator<OperatorSummary> => everyPage(control, '/operators')

const rolesOf = ({ roles }: OperatorSummary): string =>
  roles.map(({ workspace_id, role }) => (workspace_id === null ? role : `${role}@${workspace_id}`)).join(', ')

async function list(control: Api): Promise<number> {
  for await (const one of operatorsOf(control)) {
    const state = one.locked_at === null ? (one.second_factor ? 'mfa' : 'no mfa') : 'locked'
    print(`${one.email.padEnd(40)} ${state.padEnd(7)} ${rolesOf(one)}`)
  }
  return 0
}

async function resetMfa(control: Api, email: string): Promise<number> {
  for await (const one of operatorsOf(control))
    if (one.email === email.trim().toLowerCase()) {
      await control.post(`/operators/${one.id}/reset-mfa`, { reason: REASON })
      print(`${one.email} has no second factor any more; all their sessions have ended.`)
      return 0
    }
  throw new StartRefused(`There is no operator ${email}.`)
}

interface Invitation {
  readonly email: string
  readonly role: string
  readonly token: string
  readonly expires_at: string
}

async function invite(
  control: Api,
  wanted: {
    readonly email: string
    readonly role: string
    readonly workspaceId?: string
    readonly hours?: number
  },
): Promise<number> {
  const { email, role, workspaceId, hours } = wanted
  const invited: Invitation = await control.post('/operators/invitations', {
    email,
    role,
    ...(workspaceId !== undefined && { workspace_id: workspaceId }),
    ...(hours !== undefined && { hours }),
    reason: REASON,
  })
  print(
    box(`Invitation of ${invited.email} as ${invited.role}, good until ${invited.expires_at}`, [
      invited.token,
      '',
      'Hand it to them over a channel that you trust; it works once. They accept it with a name and a password:',
      'POST /auth/invitations/accept {"token", "name", "password"}; whoever has an account signs on first.',
    ]),
  )
  return 0
}

/**
 * People, from the machine of the hub: whoever can read KEYS_DIR is a platform admin here, which is how the first
 * one is made.
 */
export const operator: Command = {
  name: 'operator',
  usage: USAGE,
  summary: 'Operators of the hub: list them, invite them, take a lost second factor away.',
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { role: { type: 'string' }, workspace: { type: 'string' }, hours: { type: 'string' } },
      allowPositionals: true,
    })
    const [verb, email, ...others] = positionals
    const usage = new StartRefused(`Usage: npx orchestrator ${USAGE}`)
    if (others.length > 0) throw usage
    const config = loadConfig()
    const control = await controlApi(config, config.urls.control)
    if (verb === 'list' && email === undefined) return list(control)
    if (email === undefined) throw usage
    if (verb === 'reset-mfa') return resetMfa(control, email)
    if (verb !== 'invite' || values.role === undefined) throw usage
    const { role, workspace, hours } = values
    if (hours !== undefined && !/^[1-9][0-9]{0,2}$/.test(hours))
      throw new StartRefused('--hours is a whole number from 1 to 336.')
    const workspaceId = workspace === undefined ? undefined : (await findWorkspace(config, workspace)).id
    return invite(control, {
      email,
      role,
      ...(workspaceId !== undefined && { workspaceId }),
      ...(hours !== undefined && { hours: Number(hours) }),
    })
  },
}
