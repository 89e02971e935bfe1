import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { join } from 'node:path'

const FOLDER = import.meta.dirname

/**
 * The rivals are no part of the repository's own `npm ci`; the first run fetches them by the lockfile. Their
 * install scripts are not run: the only one (msgpackr-extract) looks for a prebuilt binary, which comes anyway.
 */
export async function ensureInstalled(): Promise<boolean> {
  // npm writes this file last.
  if (await exists(join(FOLDER, 'node_modules/.package-lock.json'))) return true
  process.stdout.write('The bench fetches the job engines that it compares with (npm ci, once) …\n')
  const npm = spawn('npm', ['ci', '--ignore-scripts', '--prefix', FOLDER], { cwd: FOLDER, stdio: 'inherit' })
  const [code] = await once(npm, 'exit').catch((error: Error) => [error.message])
  if (code === 0) return true
  process.stderr.write(
    `\nThe packages of bench/package-lock.json could not be installed (${code}). They come from the npm registry:\n` +
      'without a network, run `npm ci --ignore-scripts --prefix bench` where there is one and copy bench/node_modules.\n',
  )
  return false
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
