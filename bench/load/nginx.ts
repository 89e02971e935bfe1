import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { choosePort } from '../../server/src/platform/embedded/port.ts'

export interface Nginx {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

const START_MS = 5_000

/** The nginx of this machine: `NGINX`, or on the PATH. */
export async function findNginx(): Promise<string | undefined> {
  const { NGINX, PATH = '' } = process.env
  const places = NGINX
    ? [NGINX]
    : [...PATH.split(delimiter), '/usr/sbin'].map((folder) => join(folder, 'nginx'))
  for (const path of places)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path
  return undefined
}

/** nginx as a plain reverse proxy with kept-alive connections to the upstream, one worker, no access log. */
export async function startNginx(binary: string, folder: string, upstreamPort: number): Promise<Nginx> {
  const own = join(folder, 'nginx')
  await mkdir(own)
  const port = await choosePort(own)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${own}/${name};`,
  )
  await writeFile(
    join(own, 'nginx.conf'),
    `daemon off; pid ${own}/pid; error_log stderr warn; worker_processes 1;
events { worker_connections 2048; }
http {
  access_log off; keepalive_requests 1000000; keepalive_timeout 120s; ${temporary.join(' ')}
  upstream provider { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  )
  const child = spawn(binary, ['-p', own, '-c', join(own, 'nginx.conf'), '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await listening(child, port)
  return {
    port,
    pid: child.pid ?? 0,
    stop: async () => {
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    },
  }
}

async function listening(child: ChildProcess, port: number): Promise<void> {
  for (const until = performance.now() + START_MS; ; await delay(20)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port })
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
    if (open) return
    if (child.exitCode !== null || performance.now() > until) throw new Error('nginx does not start')
  }
}
