import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const ENTRY = fileURLToPath(new URL('./orchestrator.js', import.meta.url))

/** Runs the entry on this Node, which says that it is another version. */
async function onNode(version: string): Promise<{ code: number; stderr: string }> {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, ENTRY]
  return promisify(execFile)(process.execPath, args).then(
    ({ stderr }) => ({ code: 0, stderr }),
    ({ code, stderr }) => ({ code, stderr }),
  )
}

test.each(['14.21.3', '20.20.2', '22.17.1'])(
  'Node %s is told what to do and ends with 1',
  async (version) => {
    const { code, stderr } = await onNode(version)
    expect(code).toBe(1)
    expect(stderr).toContain(`this is Node ${version}`)
    expect(stderr).toContain('npm ci')
  },
)
