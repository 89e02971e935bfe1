import { readFile } from 'node:fs/promises'

const REFUSED = /"stale":(\d+)/

/** Settlements that workers were refused because their lease was no longer theirs, by their logs. */
export async function staleRefusals(logFiles: readonly string[]): Promise<number> {
  let refused = 0
  for (const file of logFiles)
    for (const line of (await readFile(file, 'utf8').catch(() => '')).split('\n'))
      refused += Number(REFUSED.exec(line)?.[1] ?? 0)
  return refused
}
