import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const SCRIPT = `
  const { createDial } = await import(process.argv[1])
  const metrics = { histogram: () => ({ startTimer: () => () => undefined }) }
  const dial = createDial({ allowCidrs: ['127.0.0.0/8'], metrics, log: { warn() {} } })
  const { signal } = new AbortController()
  const answer = await dial.request({
    method: 'GET', url: process.argv[2], headers: {}, signal, connectTimeoutMs: 5000, maxResponseBytes: 100,
  })
  process.stdout.write(answer.body.toString())
  await dial.close()
`

test('a proxy in the environment is not used, also when Node is told to use it', async () => {
  const proxied: (string | undefined)[] = []
  const proxy = createServer((request, response) => {
    proxied.push(request.url)
    response.end('through the proxy')
  }).listen(0, '127.0.0.1')
  const target = createServer((_request, response) => response.end('direct')).listen(0, '127.0.0.1')
  await Promise.all([once(proxy, 'listening'), once(target, 'listening')])
  const urlOf = (server: typeof proxy) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', SCRIPT, fileURLToPath(new URL('dial.ts', import.meta.url)), urlOf(target)],
    { env: { HTTP_PROXY: urlOf(proxy), http_proxy: urlOf(proxy), NODE_USE_ENV_PROXY: '1' } },
  )
  for (const server of [proxy, target]) {
    server.closeAllConnections()
    server.close()
  }
  expect(stdout).toBe('direct')
  expect(proxied).toEqual([])
})
