import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { issueOperatorToken, PLANES, type Plane } from '../processes/operator-token.ts'
import { type Command, print } from './command.ts'
import { findWorkspace } from './control-api.ts'

const isPlane = (value: string): value is Plane => (PLANES as readonly string[]).includes(value)

async function tenantOf(
  config: Config,
  slug: string | undefined,
  platformAdmin: boolean,
): Promise<string | undefined> {
  if (slug !== undefined) return (await findWorkspace(config, slug)).id
  if (platformAdmin) return undefined
  throw new StartRefused(
    'Say for which workspace the token is: --workspace SLUG, e.g. --workspace buildos-dev.',
  )
}

/** Signs a token with the keys in KEYS_DIR: whoever may read them may do everything anyway. */
export const token: Command = {
  name: 'token',
  usage:
    'token exec|control [--workspace SLUG] [--scope S …] [--ttl SECONDS] [--subject NAME] [--platform-admin]',
  summary: 'Print a token for one plane (needs read access to the signing keys)',
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        workspace: { type: 'string' },
        scope: { type: 'string', multiple: true },
        ttl: { type: 'string' },
        subject: { type: 'string' },
        'platform-admin': { type: 'boolean' },
      },
    })
    const [plane, ...rest] = positionals
    if (plane === undefined || !isPlane(plane) || rest.length > 0)
      throw new StartRefused(`Say for which plane the token is: ${PLANES.join(' or ')}.`)
    const config = loadConfig()
    const lifetimeSeconds = values.ttl === undefined ? config.tokenTtlSeconds : Number(values.ttl)
    if (!Number.isInteger(lifetimeSeconds) || lifetimeSeconds < 1 || lifetimeSeconds > 3_600)
      throw new StartRefused('--ttl takes whole seconds from 1 to 3600.')
    const platformAdmin = values['platform-admin'] ?? false
    print(
      await issueOperatorToken(config, {
        plane,
        tenantId: await tenantOf(config, values.workspace, platformAdmin),
        scopes: values.scope,
        lifetimeSeconds,
        subject: values.subject,
        platformAdmin,
      }),
    )
    return 0
  },
}
