/**
 * Checkpoints outside of the database, one line each, only ever appended: a database that was rewritten, or brought back
 * from an old backup, does not fit what stands here.
 */
import { createReadStream } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Checkpoint, formatCheckpoint, parseCheckpoint } from './checkpoint.ts'

export const checkpointFile = (folder: string): string => join(folder, 'checkpoints.ndjson')

/** Appends them and waits until they are on the disk. Makes the folder. */
export async function appendCheckpoints(path: string, checkpoints: readonly Checkpoint[]): Promise<void> {
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 })
  const file = await open(path, 'a+', 0o600)
  try {
    const { size } = await file.stat()
    const last = Buffer.alloc(1)
    if (size > 0) await file.read(last, 0, 1, size - 1)
    // A line that a power cut has torn must not take the next one with it.
    const torn = size > 0 && last.toString() !== '\n'
    const lines = checkpoints.map((checkpoint) => `${formatCheckpoint(checkpoint)}\n`)
    await file.appendFile((torn ? '\n' : '') + lines.join(''))
    await file.sync()
  } finally {
    await file.close()
  }
}

export interface KeptCheckpoints {
  /** By workspace. */
  readonly byTenant: ReadonlyMap<string, readonly Checkpoint[]>
  /** How many lines are no checkpoints. */
  readonly unreadable: number
}

/** Reads the file, of one workspace or of all. No file is no checkpoints, unless `mustExist`. */
export async function readCheckpoints(
  path: string,
  { tenantId, mustExist = false }: { readonly tenantId?: string; readonly mustExist?: boolean } = {},
): Promise<KeptCheckpoints> {
  const byTenant = new Map<string, Checkpoint[]>()
  let unreadable = 0
  try {
    const lines = createInterface({
      input: createReadStream(path, 'utf8'),
      crlfDelay: Number.POSITIVE_INFINITY,
    })
    for await (const line of lines) {
      if (line.trim() === '') continue
      const checkpoint = parseCheckpoint(line)
      if (!checkpoint) unreadable += 1
      else if (tenantId === undefined || checkpoint.tenantId === tenantId) {
        const ofTenant = byTenant.get(checkpoint.tenantId)
        if (ofTenant) ofTenant.push(checkpoint)
        else byTenant.set(checkpoint.tenantId, [checkpoint])
      }
    }
  } catch (error) {
    if (mustExist || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return { byTenant, unreadable }
}
