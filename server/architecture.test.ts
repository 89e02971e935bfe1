import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { RULES, type RuleName, violationsIn } from './testing/architecture-rules.ts'
import type { Sources } from './testing/source-tree.ts'

const REPOSITORY = join(import.meta.dirname, '..')
const FOLDERS = ['server', 'console', 'sdk', 'e2e', 'bench', 'torture']
const IGNORED = new Set(['node_modules', 'coverage', 'dist', 'results', '.orchestrator'])

function sourcesOf(folders: readonly string[]): Sources {
  const entries = readdirSync(REPOSITORY, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && folders.includes(entry.name),
  )
  const files = entries.flatMap(({ name }) => filesBelow(name))
  return new Map(files.map((path) => [path, readFileSync(join(REPOSITORY, path), 'utf8')]))
}

const filesBelow = (folder: string): string[] =>
  readdirSync(join(REPOSITORY, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return IGNORED.has(entry.name) ? [] : filesBelow(path)
    return /\.(ts|tsx|js)$/.test(entry.name) ? [path] : []
  })

describe('the architecture of DESIGN §3', () => {
  const sources = sourcesOf(FOLDERS)
  const violations = violationsIn(sources)

  it('is checked on the real tree, not on an empty one', () => {
    expect([...sources.keys()]).toContain('server/src/problems.ts')
    expect(sources.size).toBeGreaterThan(20)
  })

  it.each(Object.keys(RULES) as RuleName[])('%s', (rule) => {
    const found = violations.filter((violation) => violation.rule === rule)
    expect(found.map(({ file, message }) => `${file}: ${message}`)).toEqual([])
  })
})

/** A small tree that obeys every rule; each planted fault is laid over it. */
const CLEAN: Readonly<Record<string, string>> = {
  'server/src/main.ts':
    "import { readConfig } from './config.ts'\nawait import('./processes/exec.ts')\nreadConfig()",
  'server/src/config.ts':
    "import './platform/secret.ts'\nexport const readConfig = () => process.env['PORT']",
  'server/src/problems.ts': 'export const PROBLEMS = {}',
  'server/src/processes/exec.ts': "import '../features/jobs/jobs.exec.ts'\nimport '../config.ts'",
  'server/src/processes/control.ts': "import '../features/jobs/jobs.control.ts'",
  'server/src/processes/all.ts': "import './exec.ts'\nimport '../features/jobs/jobs.control.ts'",
  'server/src/features/jobs/jobs.ts':
    "import './jobs.sql.ts'\nimport '../audit/audit.ts'\nimport '../../queue/job.ts'",
  'server/src/features/jobs/jobs.sql.ts': "import '../../platform/secret.ts'",
  'server/src/features/jobs/jobs.exec.ts': "import type { Job } from './jobs.ts'",
  'server/src/features/jobs/jobs.control.ts': "import './jobs.ts'",
  'server/src/features/jobs/jobs.test.ts': "import './jobs.exec.ts'\nimport '../../../testing/database.ts'",
  'server/src/features/audit/audit.ts': "import '../../platform/secret.ts'",
  'server/src/queue/job.ts': "import '../platform/secret.ts'",
  'server/src/resilience/retry.ts': "import '../problems.ts'",
  'server/src/platform/secret.ts':
    "const words = `import './x.ts'; process.env`\n// import '../queue/job.ts'\nexport { words }",
  'server/src/processes/version.ts': "import '../../package.json' with { type: 'json' }",
  'server/testing/queue-fixture.ts': "import '../src/features/jobs/jobs.sql.ts'",
  'server/testing/database.ts': "export const url = process.env['ORCH_TEST_DATABASE_URL']",
}

/** Each row: the rule that must speak, the file it must name, and the files that are laid over the clean tree. */
const PLANTED: readonly (readonly [rule: RuleName, file: string, files: Readonly<Record<string, string>>])[] =
  [
    ['every file stands on a floor', 'server/src/tools/clock.ts', { 'server/src/tools/clock.ts': '' }],
    ['every file stands on a floor', 'server/src/server.ts', { 'server/src/server.ts': '' }],
    ['every file stands on a floor', 'server/src/config/http.ts', { 'server/src/config/http.ts': '' }],
    [
      'imports point down',
      'server/src/platform/http.ts',
      { 'server/src/platform/http.ts': "import type { Job } from '../queue/job.ts'" },
    ],
    [
      'imports point down',
      'server/src/resilience/breaker.ts',
      { 'server/src/resilience/breaker.ts': "export { job } from '../queue/job.ts'" },
    ],
    [
      'imports point down',
      'server/src/queue/claim.ts',
      { 'server/src/queue/claim.ts': "export type Job = import('../features/jobs/jobs.ts').Job" },
    ],
    [
      'imports point down',
      'server/src/features/audit/audit.test.ts',
      { 'server/src/features/audit/audit.test.ts': "import '../../processes/exec.ts'" },
    ],
    [
      'imports point down',
      'server/src/queue/claim.ts',
      { 'server/src/queue/claim.ts': "import '../../testing/database.ts'" },
    ],
    [
      'product code imports no tests',
      'server/src/queue/claim.ts',
      { 'server/src/queue/claim.ts': "import './job.test.ts'" },
    ],
    [
      'every import can be followed',
      'server/src/processes/exec.ts',
      {
        'server/src/processes/exec.ts': 'export const load = (path: string) => import(path)',
      },
    ],
    ...[
      "export const port = process.env['PORT']",
      "export const port = process['env'].PORT",
      'export const port = globalThis.process.env.PORT',
      'const { env: settings } = process\nexport { settings }',
      "import { env } from 'node:process'\nexport { env }",
      "import host from 'node:process'\nexport const port = host.env.PORT",
    ].map(
      (source) =>
        [
          'process.env only in config.ts',
          'server/src/platform/port.ts',
          { 'server/src/platform/port.ts': source },
        ] as const,
    ),
    [
      'config.ts only from main and processes',
      'server/src/features/audit/audit.ts',
      { 'server/src/features/audit/audit.ts': "import type { Config } from '../../config.ts'" },
    ],
    [
      'features meet only at doors',
      'server/src/features/audit/audit.ts',
      { 'server/src/features/audit/audit.ts': "import '../jobs/cancel-job.ts'" },
    ],
    [
      'features meet only at doors',
      'server/src/processes/exec.ts',
      { 'server/src/processes/exec.ts': "import '../features/jobs/jobs.schema.ts'" },
    ],
    [
      '.sql.ts is private to its folder',
      'server/src/processes/exec.ts',
      { 'server/src/processes/exec.ts': "import '../features/jobs/jobs.sql.ts'" },
    ],
    [
      '.sql.ts is private to its folder',
      'server/src/features/jobs/kinds/cron.ts',
      { 'server/src/features/jobs/kinds/cron.ts': "import '../jobs.sql.ts'" },
    ],
    [
      'adapters are loaded only by their process',
      'server/src/processes/control.ts',
      { 'server/src/processes/control.ts': "import '../features/jobs/jobs.exec.ts'" },
    ],
    [
      'adapters are loaded only by their process',
      'server/src/features/jobs/list-jobs.ts',
      { 'server/src/features/jobs/list-jobs.ts': "import './jobs.exec.ts'" },
    ],
    [
      'adapters are loaded only by their process',
      'server/src/features/audit/audit.test.ts',
      { 'server/src/features/audit/audit.test.ts': "import '../jobs/jobs.exec.ts'" },
    ],
    [
      'no cycles, type imports included',
      'server/src/queue/job.ts',
      {
        'server/src/queue/job.ts': "import type { Claim } from './claim.ts'",
        'server/src/queue/claim.ts': "import './lane.ts'",
        'server/src/queue/lane.ts': "export type { Job } from './job.ts'",
      },
    ],
    ['no nameless file', 'server/src/queue/utils.ts', { 'server/src/queue/utils.ts': '' }],
    ['no nameless file', 'server/src/queue/index.ts', { 'server/src/queue/index.ts': '' }],
    ['no nameless file', 'server/src/platform/core/db.ts', { 'server/src/platform/core/db.ts': '' }],
    [
      'no nameless file',
      'server/src/queue/job.helpers.test.ts',
      { 'server/src/queue/job.helpers.test.ts': '' },
    ],
    ['no nameless file', 'console/public/string-utils.js', { 'console/public/string-utils.js': '' }],
    ['no file is too long', 'sdk/src/client.ts', { 'sdk/src/client.ts': '//\n'.repeat(301) }],
    [
      'no file is too long',
      'server/src/queue/job.test.ts',
      { 'server/src/queue/job.test.ts': '//\n'.repeat(601) },
    ],
  ]

describe('the rules themselves', () => {
  const overlay = (files: Readonly<Record<string, string>>): Sources =>
    new Map(Object.entries({ ...CLEAN, ...files }))

  it('say nothing about a tree that obeys them', () => {
    expect(violationsIn(overlay({}))).toEqual([])
    expect(violationsIn(overlay({ 'sdk/src/client.ts': '//\n'.repeat(300) }))).toEqual([])
    expect(violationsIn(overlay({ 'server/src/queue/job.test.ts': '//\n'.repeat(600) }))).toEqual([])
  })

  it.each(PLANTED)('%s: caught in %s', (rule, file, files) => {
    const found = violationsIn(overlay(files))
    expect(found).toContainEqual({ rule, file, message: expect.any(String) })
    // A planted fault that trips other rules as well would not prove this one.
    expect(found.filter((violation) => violation.rule !== rule)).toEqual([])
  })

  it('every rule has a planted fault', () => {
    expect(new Set(PLANTED.map(([rule]) => rule))).toEqual(new Set(Object.keys(RULES)))
  })
})
