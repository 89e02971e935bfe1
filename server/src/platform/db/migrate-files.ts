import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { StartRefused } from '../start-refused.ts'

/** One file of the migrations folder: `0007_add_routes.sql` has version 7 and name `add_routes`. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly file: string
  readonly sql: string
  /** Of the text with LF line ends, so that a checkout with CRLF is the same migration. Lower-case hex. */
  readonly sha256: string
  /** Code that does not know this migration cannot work with a database that has it. */
  readonly breaking: boolean
}

const MIGRATIONS_DIRECTORY = fileURLToPath(new URL('../../../migrations/', import.meta.url))

const FILE_NAME = /^(\d{4})_([a-z0-9]+(?:_[a-z0-9]+)*)\.sql$/

/**
 * Reads the folder's migrations in order. Throws StartRefused for a misnamed file, a duplicate or a gap: each
 * means that two branches were merged without renumbering, and the order of their changes is not known.
 */
export async function readMigrations(directory: string = MIGRATIONS_DIRECTORY): Promise<Migration[]> {
  const files = (await readdir(directory)).filter((file) => file.endsWith('.sql')).sort()
  const migrations: Migration[] = []
  for (const file of files) {
    const [, digits, name] = FILE_NAME.exec(file) ?? []
    if (digits === undefined || name === undefined)
      throw new StartRefused(`Migration ${file} must be named like 0001_words_in_lower_case.sql.`)
    const expected = migrations.length + 1
    const version = Number(digits)
    if (version < expected)
      throw new StartRefused(
        `Two migrations have the number ${digits} (${migrations.at(-1)?.file} and ${file}): renumber one.`,
      )
    if (version > expected)
      throw new StartRefused(
        `Migration ${String(expected).padStart(4, '0')} is missing before ${file}: numbers must have no gap.`,
      )
    const sql = (await readFile(join(directory, file), 'utf8')).replaceAll('\r\n', '\n')
    migrations.push({
      version,
      name,
      file,
      sql,
      sha256: createHash('sha256').update(sql).digest('hex'),
      breaking: /^-- breaking\s*(\n|$)/.test(sql),
    })
  }
  return migrations
}
