import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { currentRetention, type RetentionPreview } from '../processes/retention.ts'
import { type Command, print } from './command.ts'
import { controlApi } from './control-api.ts'

const USAGE = 'retention run [--dry-run]'
const MIB = 1_048_576

/** What the API says; the same as the preview of the feature, in the words of the wire. */
interface Preview {
  readonly days: readonly {
    readonly tables: readonly string[]
    readonly day: string
    readonly bytes: number
    readonly held_by: string | null
  }[]
  readonly rows: readonly {
    readonly workspace_id: string
    readonly subject: string
    readonly day: string
    readonly rows: number
  }[]
  readonly dead_letters: number
  readonly audit_entries: number
}

const wire = ({ days, rows, deadLetters, auditEntries }: RetentionPreview): Preview => ({
  days: days.map(({ heldBy, ...day }) => ({ ...day, held_by: heldBy })),
  rows: rows.map(({ tenantId, ...row }) => ({ ...row, workspace_id: tenantId })),
  dead_letters: deadLetters,
  audit_entries: auditEntries,
})

function show({ days, rows, dead_letters, audit_entries }: Preview): void {
  for (const { day, tables, bytes, held_by } of days)
    print(
      held_by === null
        ? `drop  ${day}  ${tables.join(', ')}  ${(bytes / MIB).toFixed(1)} MiB`
        : `hold  ${day}  ${tables.join(', ')}: ${held_by}`,
    )
  for (const { day, subject, workspace_id, rows: count } of rows)
    print(`trim  ${day}  ${subject} of workspace ${workspace_id}: ${count} rows`)
  const gone = days.filter(({ held_by }) => held_by === null)
  print(
    `\n${gone.length} days to drop (${(gone.reduce((sum, { bytes }) => sum + bytes, 0) / MIB).toFixed(1)} MiB), ` +
      `${days.length - gone.length} held, ${rows.length} days to trim, ${dead_letters} dead letters to the bin, ` +
      `${audit_entries} audit entries. Nothing was changed.`,
  )
}

/** Through the running hub: nobody else reaches the embedded database. */
const fromHub = async (config: Config): Promise<Preview> =>
  (await controlApi(config, config.urls.control)).get<Preview>('/platform/retention')

async function run(config: Config, dryRun: boolean): Promise<number> {
  const { databaseUrl } = config
  if (databaseUrl === undefined) {
    if (!dryRun)
      throw new StartRefused(
        'The hub with the embedded database runs retention by itself, each hour; see what it will do with --dry-run.',
      )
    show(await fromHub(config))
    return 0
  }
  const retention = currentRetention(config, databaseUrl)
  try {
    if (dryRun) {
      show(wire(await retention.preview()))
      return 0
    }
    const { days, rows } = await retention.run()
    for (const { day, tables, result, why } of days)
      print(`${result.padEnd(7)} ${day}  ${tables.join(', ')}${why === undefined ? '' : `: ${why}`}`)
    for (const [subject, count] of rows) if (count > 0) print(`removed ${count} rows of ${subject}`)
    return days.some(({ result }) => result === 'failed') ? 1 : 0
  } finally {
    await retention.close()
  }
}

/** Removes what is past its time now, or says what that would be. Ends with 1 when a day could not be removed. */
export const retention: Command = {
  name: 'retention',
  usage: USAGE,
  summary: 'Remove history that is past its time now, or show with --dry-run what would go',
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { 'dry-run': { type: 'boolean' } },
    })
    if (positionals.length !== 1 || positionals[0] !== 'run')
      throw new StartRefused(`Usage: orchestrator ${USAGE}`)
    return run(loadConfig(), values['dry-run'] ?? false)
  },
}
