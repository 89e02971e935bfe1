import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { createDial } from './dial.ts'

/** A server in a thread of its own, so that it can reset a connection while this thread stands still. */
const SERVER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const accepted = Promise.withResolvers()
  const server = require('node:net').createServer((socket) => accepted.resolve(socket))
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
  parentPort.on('message', async () => {
    const socket = await accepted.promise
    socket.once('close', () => {
      Atomics.store(workerData, 0, 1)
      Atomics.notify(workerData, 0)
    })
    socket.resetAndDestroy()
  })`

// Found by torture/: the reset left a socket without an address, which was taken for a forbidden one, and the job
// became a dead letter instead of being tried again.
test('a connection that is reset as it opens is a reset and not a forbidden address', async () => {
  const done = new Int32Array(new SharedArrayBuffer(4))
  const server = new Worker(SERVER, { eval: true, workerData: done })
  const [port] = (await once(server, 'message')) as [number]
  const remotes: (string | undefined)[] = []
  const onSocket = (message: unknown): void => {
    const { socket } = message as { socket: Socket }
    // Before anybody else hears that it is connected.
    socket.once('connect', () => {
      server.postMessage('reset')
      Atomics.wait(done, 0, 0, 10_000)
      remotes.push(socket.remoteAddress)
    })
  }
  subscribe('net.client.socket', onSocket)
  const dial = createDial({
    allowCidrs: ['127.0.0.0/8'],
    log: createLog('test', 'silent'),
    metrics: createMetrics('test', false),
  })
  const request = dial.request({
    ...{ method: 'POST', url: `http://127.0.0.1:${port}/`, headers: {}, body: '{}' },
    ...{ signal: new AbortController().signal, connectTimeoutMs: 5_000, maxResponseBytes: 1_000 },
  })
  await expect(request).rejects.toMatchObject({ class: 'reset', sent: 'never' })
  expect(remotes).toEqual([undefined])
  unsubscribe('net.client.socket', onSocket)
  await dial.close()
  await server.terminate()
})
