import type { Clock } from '../../platform/clock.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import type { Check, Line, Need } from './check.ts'
import { roomFor } from './plane-client.ts'
import type { Stage } from './stage.ts'
import { NotShown } from './verdict.ts'

/** How one line came out; a check that needs what is not there is not tried. Never rejects. */
export async function runCheck(
  check: Check,
  stage: Stage,
  away: ReadonlyMap<Need, string>,
  on: { readonly clock: Clock; readonly log: Log },
): Promise<Line> {
  const { name, proves } = check
  const startedAt = on.clock.monotonic()
  const line = (status: Line['status'], detail: string, mend: string | null = null): Line => ({
    ...{ name, proves, status, detail, mend },
    duration_ms: Math.round(on.clock.monotonic() - startedAt),
  })
  const missing = (check.needs ?? []).flatMap((need) => away.get(need) ?? [])[0]
  if (missing !== undefined) return line('not_applicable', missing)
  try {
    const { status, detail } = await check.run(stage)
    return line(status, detail)
  } catch (error) {
    if (error instanceof NotShown) return line('failed', error.message, error.mend ?? check.mend)
    if (stage.signal.aborted)
      return line(
        'failed',
        'The verification was broken off.',
        'Run it again; control was stopped, or it took too long.',
      )
    if (error instanceof Problem) return line('failed', error.message, mendOf(error) ?? check.mend)
    on.log.error({ err: error, check: name }, 'a check of the onboarding verification broke')
    return line('failed', 'The check itself broke; the log of control says why.', 'Report it with the log.')
  }
}

const mendOf = ({ code, extra }: Problem): string | undefined => {
  const quota = extra.members?.quota
  return code === 'quota_exceeded' && typeof quota === 'string' ? roomFor(quota) : undefined
}

/** Runs the list in its order and tells of each line as it comes. */
export async function runChecklist(
  checks: readonly Check[],
  stage: Stage,
  on: {
    readonly clock: Clock
    readonly log: Log
    readonly onLine: (lines: readonly Line[]) => Promise<void>
  },
): Promise<Line[]> {
  const away = new Map<Need, string>()
  const lines: Line[] = []
  for (const check of checks) {
    const line = await runCheck(check, stage, away, on)
    lines.push(line)
    if (check.gives && line.status !== 'passed') away.set(check.gives, whyNotTried(line))
    await on.onLine(lines)
  }
  return lines
}

/** What a line that did not pass means for those that need it; a reason is handed on as it is. */
const whyNotTried = ({ name, status, detail }: Line): string => {
  if (status === 'failed') return `Not tried, because ${name} failed.`
  return detail.startsWith('Not tried') ? detail : `Not tried: ${detail}`
}
