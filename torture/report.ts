import type { Spread } from './check/takeovers.ts'
import { FAULTS, type Fault, type Verdict } from './checker.ts'

const MOST_SENTENCES = 5

const seconds = (ms: number | null): string => (ms === null ? '–' : `${(ms / 1_000).toFixed(1)} s`)
const counts = (of: Readonly<Record<string, number>>): string =>
  Object.entries(of)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ') || 'none'

const spread = ({ count, p50, p99, max }: Spread): string =>
  `${count}${count > 0 ? `: p50 ${seconds(p50)}, p99 ${seconds(p99)}, max ${seconds(max)}` : ''}`

const takeoverRows = ({ takeover }: Verdict): [string, string][] => [
  [`jobs of ${takeover.kills} killed workers, rescued after`, spread(takeover.rescued)],
  ['started again after, no cap', spread(takeover.started)],
  ['started again after, under a cap', spread(takeover.startedUnderCap)],
]

/** The command that does the same again. */
export const repeatCommand = ({ seed, seconds: long }: Pick<Verdict, 'seed' | 'seconds'>): string =>
  `npm run torture -- --seed ${seed} --minutes ${Number((long / 60).toFixed(2))}`

/** The figures as Markdown, which reads well in a terminal, too. */
export function reportOf(verdict: Verdict): string {
  const { sends, states, effects, faults } = verdict
  const rows: [string, string][] = [
    ['sent', `${sends.sent} (${sends.tries} requests)`],
    ['acknowledged (202)', String(sends.accepted)],
    ['refused / not sent', `${sends.refused} / ${sends.notSent}`],
    ['unknown (no answer, or 5xx)', `${sends.unknown.all}, of which ${sends.unknown.stored} were stored`],
    ['jobs at the end', counts(states)],
    ['effects at the sink', `${effects.effects} of ${effects.requests} requests`],
    ['effects repeated, by cause', counts(effects.duplicates)],
    ['stale settlements refused', String(verdict.staleRefused)],
    ...(verdict.hurried ? [] : takeoverRows(verdict)),
    ['claims whose answer was lost, held for', spread(verdict.lostClaims)],
    ['troubles', counts(verdict.troubles)],
  ]
  return [
    `# Torture: ${verdict.sound ? 'sound' : 'NOT SOUND'}, seed ${verdict.seed}, ${Math.round(verdict.seconds)} s of load`,
    '',
    table(['figure', 'value'], rows),
    '',
    table(
      ['must be 0', 'found', 'meaning'],
      (Object.entries(FAULTS) as [Fault, string][]).map(([fault, meaning]) => [
        fault,
        String(faults[fault].length),
        meaning,
      ]),
    ),
    '',
    'Caps: leases from `job_attempt` and `job_run`, effects as the sink saw them while the lease lived. The last',
    'column counts also effects whose lease had been taken away while the sink was at them; no cap can call those back.',
    '',
    table(
      ['workspace', 'connector', 'cap', 'leases at once', 'effects at once', 'with orphans'],
      verdict.caps.map(({ tenant, connector, cap, leases, effects: at, withOrphans }) => [
        tenant.slice(-6),
        connector ?? 'all',
        ...[cap, leases, at, withOrphans].map(String),
      ]),
    ),
    '',
    ...(Object.entries(faults) as [Fault, readonly string[]][]).flatMap(([fault, sentences]) =>
      sentences.length === 0 ? [] : [`## ${fault}`, '', ...listOf(sentences), ''],
    ),
    `Repeat: \`${repeatCommand(verdict)}\`. The seed decides load and chaos; the operating system decides the rest.`,
    '',
  ].join('\n')
}

const listOf = (sentences: readonly string[]): string[] => [
  ...sentences.slice(0, MOST_SENTENCES).map((sentence) => `- ${sentence}`),
  ...(sentences.length > MOST_SENTENCES ? [`- and ${sentences.length - MOST_SENTENCES} more`] : []),
]

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => (row[at] ?? '').length)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}
