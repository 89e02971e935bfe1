import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { type Found, MAX_SECRET_BYTES, type SecretStore, secretFrom, type Unresolved } from './store.ts'

/** The longest line ending, which does not count as part of the value. */
const NEWLINE_BYTES = 2

/**
 * Files, as Docker and Kubernetes mount secrets: `file://name` of a workspace is `<folder>/<slug>/name`. Read
 * on every look-up, so that a replaced file is found without a restart.
 */
export const fileStore: SecretStore = {
  scheme: 'file',
  addressRule: 'file://name with letters, digits, dots, hyphens and underscores',
  addressPattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
  open:
    ({ folder }) =>
    async ({ slug }, address) => {
      try {
        const path = await pathInside(join(folder, slug), folder, slug, address)
        return path === undefined
          ? { why: 'the file leads out of the folder of this workspace' }
          : await readValue(path)
      } catch (error) {
        return whyNot(error, slug, address)
      }
    },
}

/**
 * The real path of the file. Links inside the folder are followed, Kubernetes mounts are made of them; undefined
 * for one that leads out, and for a workspace folder that is a link itself.
 */
async function pathInside(
  home: string,
  folder: string,
  slug: string,
  address: string,
): Promise<string | undefined> {
  const realHome = await realpath(home)
  const path = await realpath(join(home, address))
  const ownFolder = realHome === join(await realpath(folder), slug)
  return ownFolder && path.startsWith(realHome + sep) ? path : undefined
}

async function readValue(path: string): Promise<Found | Unresolved> {
  // A link that is put in place after the check is not followed; a pipe does not block.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!(await file.stat()).isFile()) return { why: 'it is not a regular file' }
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(MAX_SECRET_BYTES + NEWLINE_BYTES + 1),
      0,
      MAX_SECRET_BYTES + NEWLINE_BYTES + 1,
    )
    return secretFrom(withoutNewline(buffer.subarray(0, bytesRead)))
  } finally {
    await file.close()
  }
}

/** Editors and `echo` end a file with a newline that is not meant. Only one: more may be. */
function withoutNewline(bytes: Buffer): Buffer {
  if (bytes.at(-1) !== 0x0a) return bytes
  return bytes.subarray(0, bytes.at(-2) === 0x0d ? -2 : -1)
}

function whyNot(error: unknown, slug: string, address: string): Unresolved {
  const { code } = error as { code?: unknown }
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return { why: `there is no such file: SECRETS_DIR/${slug}/${address}` }
  if (code === 'EACCES' || code === 'EPERM') return { why: 'the hub may not read the file', away: true }
  if (code === 'ELOOP') return { why: 'the file is a link that leads nowhere' }
  if (code === 'ENXIO') return { why: 'it is not a regular file' }
  throw error
}
