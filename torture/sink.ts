/**
 * The upstream of a run, in a process of its own: it knows nothing of the hub but the requests it gets. Every request
 * is written to an append-only file when it arrives (`start`), when the sink has decided (`end`), and when the caller
 * hangs up before that (`gone`). An effect takes place whether or not its caller still listens, as with any real API.
 * Argument: the file. Says its port in one line.
 */
import { openSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Script } from './history.ts'

const file = openSync(process.argv[2] ?? '', 'a')
const write = (line: Readonly<Record<string, unknown>>): void => {
  writeSync(file, `${JSON.stringify(line)}\n`)
}

interface Task {
  readonly about: string
  readonly callback: boolean
  readonly workMs: number
  readonly script: Script
}

/** Requests per job, so that a script can tell the first one. */
const seen = new Map<string, number>()
let requests = 0

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

function taskOf(url: string, body: string): Task {
  if (url.endsWith('/callback')) {
    const { data } = JSON.parse(body) as { data: { job_id: string } }
    return { about: data.job_id, callback: true, workMs: 5, script: 'ok' }
  }
  const input = JSON.parse(body) as { send: string; work_ms: number; script: Script }
  return { about: input.send, callback: false, workMs: input.work_ms, script: input.script }
}

/** The status to answer; 0 = hang up. */
function decide(script: Script, times: number): { readonly status: number; readonly effect: boolean } {
  if (script === 'refuse') return { status: 400, effect: false }
  if (script === 'flaky' && times <= 2) return { status: 500, effect: false }
  if (script === 'busy' && times <= 1) return { status: 429, effect: false }
  if (script === 'drop' && times <= 1) return { status: 0, effect: true }
  return { status: 200, effect: true }
}

const headerOf = (request: IncomingMessage, name: string): string => String(request.headers[name] ?? '')

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const start = Date.now()
  const body = await bodyOf(request)
  requests += 1
  const n = requests
  const task = taskOf(request.url ?? '', body)
  const key = headerOf(request, task.callback ? 'webhook-id' : 'idempotency-key')
  const token = headerOf(request, 'x-orchestrator-attempt')
  write({ t: 'start', n, at: start, key, token, about: task.about, callback: task.callback })
  let left = false
  let dropped = false
  response.on('close', () => {
    if (response.writableEnded || dropped) return
    left = true
    write({ t: 'gone', n, at: Date.now() })
  })
  const times = (seen.get(key) ?? 0) + 1
  seen.set(key, times)
  await delay(task.workMs)
  const { status, effect } = decide(task.script, times)
  // Before the answer, so that no answer can be older than its record.
  write({ t: 'end', n, at: Date.now(), status: left || status === 0 ? null : status, effect })
  if (left) return
  if (status === 0) {
    dropped = true
    request.socket.destroy()
    return
  }
  response.writeHead(status, {
    'content-type': 'application/json',
    ...(status === 429 && { 'retry-after': '1' }),
  })
  response.end(JSON.stringify({ seen: times }))
}

const server = createServer((request, response) => {
  serve(request, response).catch(() => request.socket.destroy())
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.stdout.write(
    `${JSON.stringify({ port: typeof address === 'object' ? address?.port : undefined })}\n`,
  )
})
