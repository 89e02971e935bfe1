import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readMigrations } from './migrate-files.ts'
import { planMigrations } from './migrate-plan.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'orchestrator-migrations-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function read(...files: string[]) {
  for (const name of files) await writeFile(join(directory, name), `select '${name}';\n`)
  return readMigrations(directory)
}

test('gaps, duplicates and misnamed files are refused; other files are none of our business', async () => {
  expect((await read('0001_one.sql', 'README.md', '0002_two.sql')).map(({ version }) => version)).toEqual([
    1, 2,
  ])
  await expect(read('0004_four.sql')).rejects.toThrow('0003 is missing before 0004_four.sql')
  await expect(read('0002_another.sql')).rejects.toThrow('Two migrations have the number 0002')
  await expect(read('0001-one.sql')).rejects.toThrow('0001-one.sql must be named like')
})

test('only the first line marks a breaking migration', async () => {
  await writeFile(join(directory, '0001_a.sql'), '-- breaking')
  await writeFile(join(directory, '0002_b.sql'), '-- breaking news\n')
  await writeFile(join(directory, '0003_c.sql'), 'select 1;\n-- breaking\n')
  await writeFile(join(directory, '0004_d.sql'), '-- breaking\r\nselect 1;\r\n')
  expect((await readMigrations(directory)).map(({ breaking }) => breaking)).toEqual([
    true,
    false,
    false,
    true,
  ])
})

test('a file that slipped in below an applied one is refused', async () => {
  const known = await read('0001_one.sql', '0002_two.sql', '0003_three.sql')
  const applied = known.filter(({ version }) => version !== 2)
  expect(() => planMigrations(known, applied)).toThrow(
    '0002_two.sql is not in the database, but a later one is',
  )
})

test('the migrations of the repository can be read and the first is not breaking', async () => {
  const [first] = await readMigrations()
  expect(first).toMatchObject({ version: 1, breaking: false })
})
