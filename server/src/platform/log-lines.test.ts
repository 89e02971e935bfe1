import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { logLines } from './log-lines.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-lines-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

describe('lines of the log', () => {
  test('are all there after the turn, in their order, also many of them', async () => {
    const dest = join(folder, 'turn.log')
    const lines = logLines({ dest })
    const expected = Array.from({ length: 5_000 }, (_, n) => `${n} ${'x'.repeat(20)}\n`)
    for (const line of expected) lines.write(line)
    await new Promise((resolve) => setImmediate(resolve))
    expect(readFileSync(dest, 'utf8')).toBe(expected.join(''))
  })

  test.each([
    ['process.exit(3)', 'an exit'],
    ["throw new Error('a bug')", 'a crash'],
  ])('are there after %s in the same turn', (end) => {
    const dest = join(folder, `${end.length}.log`)
    const module = new URL('./log-lines.ts', import.meta.url).href
    const script = `import { logLines } from ${JSON.stringify(module)}
      logLines({ dest: ${JSON.stringify(dest)} }).write('the last line\\n')
      ${end}`
    expect(() =>
      execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' }),
    ).toThrow()
    expect(readFileSync(dest, 'utf8')).toBe('the last line\n')
  })
})
