import { ConfigSchema, SECRET_PREFIX } from '../src/config.ts'

/** What the document shows of one variable's schema. */
interface Setting {
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly pattern?: string
  readonly enum?: readonly unknown[]
}

const code = (value: unknown): string => `\`${String(value)}\``

/** A cell must not end its row: bars are escaped. */
const cell = (text: string): string => text.replaceAll('|', '\\|')

function allowed(setting: Setting): string {
  if (setting.enum) return setting.enum.map(code).join(', ')
  if (setting.minimum !== undefined && setting.maximum !== undefined)
    return `${setting.minimum} to ${setting.maximum}`
  if (setting.pattern !== undefined) return `matches ${code(setting.pattern)}`
  return setting.type === 'boolean' ? '`true`, `false`' : 'text'
}

/** `docs/configuration.md`: one row for each environment variable. */
export function configurationDocument(): string {
  const rows = Object.entries(ConfigSchema.properties as Record<string, Setting>).map(([name, setting]) => {
    if (setting.description === undefined) throw new Error(`${name} has no description in config.ts`)
    const fallback = setting.default === undefined || setting.default === '' ? '–' : code(setting.default)
    return `| \`${name}\` | ${cell(fallback)} | ${cell(allowed(setting))} | ${cell(setting.description)} |`
  })
  return `# Configuration

Generated from \`server/src/config.ts\` by \`npm run generate\`; a test holds the two equal.

Every setting is an environment variable, and every one has a default that works on a developer's machine: a
plain \`npm start\` needs none. The environment is read once at the start; all faults are reported together, each
by the name of its variable, and nothing starts. An empty variable counts as absent.

| Variable | Default | Allowed | Meaning |
| --- | --- | --- | --- |
${rows.join('\n')}
| \`${SECRET_PREFIX}<WORKSPACE>__<NAME>\` | – | text | The value of the secret ref \`env://NAME\` of one workspace. The workspace's slug stands in capitals with \`_\` for \`-\`. |
`
}
