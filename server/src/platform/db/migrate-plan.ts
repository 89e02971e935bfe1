import { StartRefused } from '../start-refused.ts'
import type { Migration } from './migrate-files.ts'

/** A row of `schema_migration`. */
export interface AppliedMigration {
  readonly version: number
  readonly name: string
  readonly sha256: string
  readonly breaking: boolean
}

export interface Plan {
  /** What the code has and the database has not, in order. */
  readonly pending: readonly Migration[]
  /** What the database has and the code does not know: none of it is breaking. */
  readonly newer: readonly AppliedMigration[]
}

const numbered = ({ version, name }: AppliedMigration) => `${String(version).padStart(4, '0')}_${name}`

/**
 * Compares the code's migrations with those of the database (both in order). Throws StartRefused when an
 * applied file was changed, when one was added below an applied one, and when the database has a newer
 * breaking migration: this code would read and write tables that it misunderstands.
 */
export function planMigrations(known: readonly Migration[], applied: readonly AppliedMigration[]): Plan {
  const rows = new Map(applied.map((row) => [row.version, row]))
  const highest = Math.max(0, ...rows.keys())
  for (const migration of known) {
    const row = rows.get(migration.version)
    if (row === undefined && migration.version < highest)
      throw new StartRefused(
        `Migration ${migration.file} is not in the database, but a later one is: give it the next free number.`,
      )
    if (row !== undefined && row.sha256 !== migration.sha256)
      throw new StartRefused(
        `Migration ${numbered(row)} was changed after it was applied to this database (file ${migration.file}): restore the file and put the change into a new migration.`,
      )
  }
  const newer = applied.filter((row) => row.version > known.length)
  const breaking = newer.filter((row) => row.breaking)
  if (breaking.length > 0)
    throw new StartRefused(
      `The database is newer than this version of Orchestrator and has changes that it cannot work with (${breaking.map(numbered).join(', ')}): start a newer version.`,
    )
  return { pending: known.filter(({ version }) => version > highest), newer }
}
