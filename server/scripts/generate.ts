import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { generatedDocuments } from './documents.ts'

const repository = join(import.meta.dirname, '../..')

for (const [path, text] of await generatedDocuments()) {
  const file = join(repository, path)
  const before = await readFile(file, 'utf8').catch(() => undefined)
  if (before !== text) {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, text)
  }
  console.log(`${before === text ? 'unchanged' : 'written  '} ${path}`)
}
