import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { verifyAllChains, verifyChain } from '../features/audit/audit.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { openAuditLog } from '../processes/audit.ts'
import type { Api } from './api.ts'
import { type Command, print } from './command.ts'
import { controlApi, findWorkspace } from './control-api.ts'

const USAGE =
  'audit verify [--workspace SLUG] [--checkpoints FILE] | audit export --workspace SLUG|--platform [--format json|csv] [--from TIME] [--to TIME]'

/** One chain, as the feature gives it and as the API does. */
interface Checked {
  readonly workspace: string
  readonly intact: boolean
  readonly entries?: number
  readonly checkpoints?: number
  readonly removed?: number
  readonly seq?: number
  readonly why?: string
}

function show({ workspace, intact, entries, checkpoints, removed = 0, seq, why }: Checked): boolean {
  print(
    intact
      ? `ok    ${workspace}: ${entries} entries, ${checkpoints} checkpoints agree${removed > 0 ? `; the first ${removed} were removed by retention` : ''}`
      : `FAIL  ${workspace}: entry ${seq}: ${why}`,
  )
  return intact
}

/** On the database itself: what a running hub says of itself need not be believed. */
async function* verifyDatabase(
  config: Config,
  databaseUrl: string,
  { workspace, checkpoints }: VerifyOptions,
): AsyncGenerator<Checked> {
  const { db, evidence, slugs, unreadable, close } = await openAuditLog(config, databaseUrl, checkpoints)
  try {
    if (unreadable > 0) print(`note  ${evidence.file}: ${unreadable} lines are no checkpoints`)
    if (workspace === undefined) {
      for await (const { tenantId, state } of verifyAllChains(db, evidence))
        yield { workspace: slugs.get(tenantId) ?? `${tenantId} (no such workspace)`, ...state }
      return
    }
    const [tenantId] = [...slugs].find(([, slug]) => slug === workspace) ?? []
    if (tenantId === undefined) throw new StartRefused(`The hub has no workspace ${workspace}.`)
    yield { workspace, ...(await verifyChain(db, tenantId, evidence)) }
  } finally {
    await close()
  }
}

interface ApiChain extends Omit<Checked, 'workspace'> {
  readonly tenant_id: string
  readonly workspace: string | null
}

/** Through the running hub: nobody else reaches the embedded database. */
async function* verifyHub(
  config: Config,
  { workspace, checkpoints }: VerifyOptions,
): AsyncGenerator<Checked> {
  if (checkpoints !== undefined)
    throw new StartRefused(
      '--checkpoints needs DATABASE_URL: the hub with the embedded database reads its own file, in AUDIT_CHECKPOINT_DIR.',
    )
  if (workspace !== undefined) {
    const api = await chainApi(config, workspace)
    yield { ...(await api.get<Omit<Checked, 'workspace'>>('/audit/verify')), workspace }
    return
  }
  const api = await controlApi(config, config.urls.control)
  const { chains } = await api.get<{ chains: ApiChain[] }>('/platform/audit/chains')
  for (const chain of chains)
    yield {
      ...chain,
      workspace: chain.workspace ?? (/^[0-]+$/.test(chain.tenant_id) ? 'the platform' : chain.tenant_id),
    }
}

interface VerifyOptions {
  readonly workspace: string | undefined
  readonly checkpoints: string | undefined
}

async function verify(config: Config, options: VerifyOptions): Promise<number> {
  const { databaseUrl } = config
  const chains =
    databaseUrl === undefined ? verifyHub(config, options) : verifyDatabase(config, databaseUrl, options)
  let count = 0
  let broken = 0
  for await (const chain of chains) {
    count += 1
    if (!show(chain)) broken += 1
  }
  print(
    `\n${count} ${count === 1 ? 'chain' : 'chains'}, ${broken === 0 ? 'all intact' : `${broken} not intact`}.`,
  )
  return broken === 0 ? 0 : 1
}

const chainApi = async (config: Config, workspace: string | undefined): Promise<Api> =>
  controlApi(
    config,
    config.urls.control,
    workspace === undefined ? undefined : (await findWorkspace(config, workspace)).id,
  )

/** Through the running hub, so that it is in its event log who took a copy. */
async function exportLog(
  config: Config,
  {
    workspace,
    platform,
    query,
  }: { workspace: string | undefined; platform: boolean; query: URLSearchParams },
): Promise<number> {
  if ((workspace === undefined) !== platform)
    throw new StartRefused('Say which log: --workspace SLUG, or --platform for what belongs to no workspace.')
  const api = await chainApi(config, workspace)
  const path = `${platform ? '/platform' : ''}/audit/export?${query}`
  for await (const chunk of await api.download(path))
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain')
  return 0
}

/** Verifies and exports the audit log. Verification ends with 1 when a chain is not what was written. */
export const audit: Command = {
  name: 'audit',
  usage: USAGE,
  summary: 'Verify the audit log against its chain and signed checkpoints, or write it to standard output',
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        workspace: { type: 'string' },
        checkpoints: { type: 'string' },
        platform: { type: 'boolean' },
        format: { type: 'string' },
        from: { type: 'string' },
        to: { type: 'string' },
      },
    })
    const { workspace, checkpoints, platform = false, format, from, to } = values
    const query = new URLSearchParams(
      Object.entries({ format, from, to }).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value] as [string, string]],
      ),
    )
    const [action] = positionals
    if (positionals.length === 1 && action === 'verify' && !platform && query.size === 0)
      return verify(loadConfig(), { workspace, checkpoints })
    if (positionals.length === 1 && action === 'export' && checkpoints === undefined)
      return exportLog(loadConfig(), { workspace, platform, query })
    throw new StartRefused(`Usage: orchestrator ${USAGE}`)
  },
}
