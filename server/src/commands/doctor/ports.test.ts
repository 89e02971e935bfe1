import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { requireFreePorts } from '../../processes/free-ports.ts'
import { checkPorts } from './ports.ts'

/** An address of this machine that is not the usual one: all of 127.0.0.0/8 leads here. */
const HOST = '127.0.0.2'
const hub = createServer((_request, response) => response.end('{"status":"ok"}'))
const stranger = createServer((_request, response) => response.end('hello'))
let ports: { control: number; exec: number; console: number; ingress: number; worker: number }

const listenOn = async (server: typeof hub, host: string): Promise<number> => {
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

beforeAll(async () => {
  const free = createServer()
  ports = {
    control: await listenOn(hub, HOST),
    exec: await listenOn(stranger, HOST),
    console: await listenOn(free, HOST),
    ingress: 1,
    worker: 1,
  }
  free.close()
  await once(free, 'close')
})
afterAll(() => {
  hub.close()
  stranger.close()
})

test('the ports of the address that the hub listens on are looked at, and a hub is known there', async () => {
  const [control, exec, console] = await checkPorts({ host: HOST, ports })
  expect(control).toMatchObject({ ok: true, detail: 'a hub runs there (control)' })
  expect(exec).toMatchObject({ ok: false, detail: 'exec needs it and another program has it' })
  expect(exec?.mend).toContain('EXEC_PORT')
  expect(console).toMatchObject({ ok: true, detail: 'free for console' })
})

test('an address of another machine is told as such', async () => {
  // TEST-NET-1 of RFC 5737: nobody has it.
  const [first] = await checkPorts({ host: '192.0.2.1', ports })
  expect(first).toMatchObject({ ok: false, detail: expect.stringContaining('no address 192.0.2.1') })
  expect(first?.mend).toContain('HOST')
})

test('a start tells the ports that are taken there, and by whom', async () => {
  const refused = await requireFreePorts({ host: HOST, ports }).catch((error: unknown) => error)
  expect(String(refused)).toContain(`Port ${ports.control} (control) is taken by an Orchestrator`)
  expect(String(refused)).toContain(`Port ${ports.exec} (exec) is taken by another program`)
  expect(String(refused)).not.toContain(`Port ${ports.console}`)
})
