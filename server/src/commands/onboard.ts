import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { systemClock } from '../platform/clock.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { serveFaultTarget } from '../processes/verifications.ts'
import type { Api } from './api.ts'
import { type Command, print } from './command.ts'
import { controlApi, findWorkspace } from './control-api.ts'

interface Line {
  readonly name: string
  readonly status: 'passed' | 'failed' | 'not_applicable'
  readonly detail: string
  readonly mend: string | null
}

interface Run {
  readonly id: string
  readonly state: 'running' | 'passed' | 'failed' | 'broken_off'
  readonly lines: readonly Line[]
}

const USAGE =
  'Say what to do: `onboard verify SLUG [--target URL] [--reason TEXT]`, or `onboard target [--listen ADDRESS:PORT]`.'
const POLL_MS = 200
const WORDS = { passed: 'ok', failed: 'FAIL', not_applicable: 'n/a' } as const
const NAME_WIDTH = 24

function printLine({ name, status, detail, mend }: Line): void {
  print(`${WORDS[status].padEnd(4)}  ${name.padEnd(NAME_WIDTH)}  ${detail}`)
  if (mend !== null) print(`${' '.repeat(6)}→ ${mend}`)
}

/** Longer than the longest run and the silence after which a dead one is told as broken off. */
const FOLLOW_MS = 360_000

/** Prints each line as it comes. Gives the run when it has ended, or is not heard of any more. */
async function follow(control: Api, path: string): Promise<Run> {
  const until = systemClock.monotonic() + FOLLOW_MS
  let printed = 0
  for (;;) {
    const run = await control.get<Run>(path)
    for (const line of run.lines.slice(printed)) printLine(line)
    printed = run.lines.length
    if (run.state !== 'running' || systemClock.monotonic() > until) return run
    await systemClock.sleep(POLL_MS)
  }
}

async function verify(config: Config, slug: string, body: object): Promise<number> {
  const workspace = await findWorkspace(config, slug)
  const control = await controlApi(config, config.urls.control, workspace.id)
  const path = `/workspaces/${workspace.id}/verify`
  const started = await control.post<Run>(path, body)
  const { state, lines } = await follow(control, `${path}/${started.id}`)
  const count = (status: Line['status']) => lines.filter((line) => line.status === status).length
  print(
    `\n${slug}: ${count('passed')} passed, ${count('failed')} failed, ${count('not_applicable')} not applicable.`,
  )
  if (state === 'broken_off') print('The run was broken off. Run it again.')
  if (state === 'running')
    print(`The run does not end. See GET ${path}/${started.id}, and the log of control.`)
  return state === 'passed' ? 0 : 1
}

async function serveTarget(listen: string): Promise<number> {
  const [, host, port] = /^\[?(.+?)\]?:(\d{1,5})$/.exec(listen) ?? []
  if (host === undefined || Number(port) > 65_535)
    throw new StartRefused('--listen takes ADDRESS:PORT, e.g. 127.0.0.1:4020.')
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  const target = await serveFaultTarget({ host, port: Number(port) })
  print(`The fault-injecting target listens: VERIFY_TARGET_URL=${target.url}`)
  await asked
  await target.close()
  return 0
}

/** The onboarding checklist on the running hub; exit code 0 only when no line has failed. */
export const onboard: Command = {
  name: 'onboard',
  usage: 'onboard verify SLUG [--target URL] [--reason TEXT] | onboard target [--listen ADDRESS:PORT]',
  summary: 'Verify that a workspace is ready for its product, line by line, on the live hub',
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        target: { type: 'string' },
        reason: { type: 'string' },
        listen: { type: 'string' },
      },
    })
    const [what, slug, ...rest] = positionals
    if (what === 'target' && slug === undefined) return serveTarget(values.listen ?? '127.0.0.1:4020')
    if (what !== 'verify' || slug === undefined || rest.length > 0) throw new StartRefused(USAGE)
    return verify(loadConfig(), slug, {
      ...(values.target !== undefined && { target_url: values.target }),
      reason: values.reason ?? 'orchestrator onboard verify',
    })
  },
}
