import { readFile } from 'node:fs/promises'
import type { SinkRequest } from './history.ts'

type Line =
  | {
      readonly t: 'start'
      n: number
      at: number
      key: string
      token: string
      about: string
      callback: boolean
    }
  | { readonly t: 'end'; n: number; at: number; status: number | null; effect: boolean }
  | { readonly t: 'gone'; n: number; at: number }

/** Puts the lines of the sink's file together, one request each. Also while the sink still writes. */
export async function readSink(file: string): Promise<SinkRequest[]> {
  const requests = new Map<number, SinkRequest>()
  const text = await readFile(file, 'utf8')
  // After the last line break is nothing, or a line that is just being written.
  for (const json of text.split('\n').slice(0, -1)) {
    const line = JSON.parse(json) as Line
    const known = requests.get(line.n)
    if (line.t === 'start') {
      const { key, token, about, callback, at } = line
      const nothing = { end: null, goneAt: null, status: null, effect: false }
      requests.set(line.n, { key, token, about, callback, start: at, ...nothing })
    } else if (known && line.t === 'end')
      requests.set(line.n, { ...known, end: line.at, status: line.status, effect: line.effect })
    else if (known && line.t === 'gone') requests.set(line.n, { ...known, goneAt: line.at })
  }
  return [...requests.values()]
}
