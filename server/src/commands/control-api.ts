import type { Config } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { issueOperatorToken } from '../processes/operator-token.ts'
import { type Api, createApi, everyPage } from './api.ts'

export interface WorkspaceSummary {
  readonly id: string
  readonly slug: string
}

/** How long the tokens live that a command makes for its own calls. */
const OWN_TOKEN_SECONDS = 300

/** The control plane of the running hub, as platform admin, or as an operator of one workspace. */
export async function controlApi(config: Config, baseUrl: string, tenantId?: string): Promise<Api> {
  const token = await issueOperatorToken(config, {
    plane: 'control',
    tenantId,
    platformAdmin: true,
    lifetimeSeconds: OWN_TOKEN_SECONDS,
  })
  return createApi(baseUrl, token)
}

/** The exec plane, as an operator of one workspace. */
export const execApi = async (config: Config, baseUrl: string, tenantId: string): Promise<Api> =>
  createApi(
    baseUrl,
    await issueOperatorToken(config, { plane: 'exec', tenantId, lifetimeSeconds: OWN_TOKEN_SECONDS }),
  )

/** Looks a workspace up by its slug in the running hub. Throws StartRefused when the hub is away or has no such workspace. */
export async function findWorkspace(
  config: Config,
  slug: string,
  baseUrl = config.urls.control,
): Promise<WorkspaceSummary> {
  const found = await findWorkspaceIn(await controlApi(config, baseUrl), slug)
  if (!found) throw new StartRefused(`The hub has no workspace ${slug}.`)
  return found
}

/** Walks the pages of the list: there are few workspaces, and commands are rare. */
export async function findWorkspaceIn(control: Api, slug: string): Promise<WorkspaceSummary | undefined> {
  for await (const workspace of everyPage<WorkspaceSummary>(control, '/workspaces'))
    if (workspace.slug === slug) return workspace
  return undefined
}
