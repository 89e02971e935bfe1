import { once } from 'node:events'
import { createServer, type Server, Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Link, openLink } from './link.ts'

let server: Server
let link: Link
/** What arrived upstream. */
let heard: string
const clients: Socket[] = []

beforeEach(async () => {
  heard = ''
  server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      heard += String(chunk)
      socket.write(`re:${chunk}`)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  link = await openLink(() => (typeof address === 'object' ? (address?.port ?? 0) : 0))
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await link.close()
  server.close()
})

function dial(port = link.port): Socket {
  const client = new Socket()
  clients.push(client)
  // Breaking off is what this is about; who wants to know asks `endOf`.
  client.on('error', () => undefined)
  return client.connect(port, '127.0.0.1')
}

async function open(): Promise<Socket> {
  const client = dial()
  await once(client, 'connect')
  return client
}

async function ask(client: Socket, text: string): Promise<string> {
  client.write(text)
  return String((await once(client, 'data'))[0])
}

/** How a connection ends: the code of its error, or `end`. */
const endOf = (client: Socket): Promise<string> =>
  new Promise((resolve) => {
    client.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    client.on('end', () => resolve('end'))
  })

test('an open link passes everything on', async () => {
  expect(await ask(await open(), 'a')).toBe('re:a')
  expect(heard).toBe('a')
})

test('a stalled link holds back, also new connections, and delivers later', async () => {
  const client = await open()
  expect(await ask(client, 'a')).toBe('re:a')
  link.turn('stall')
  client.write('b')
  const late = await open()
  late.write('c')
  // Another link to the same server is a clock that does not sleep: by its answer ours would have arrived.
  const other = await openLink(() => (server.address() as { port: number }).port)
  const through = dial(other.port)
  expect(await ask(through, 'x')).toBe('re:x')
  await other.close()
  expect(heard).toBe('ax')
  const answers = [once(client, 'data'), once(late, 'data')].map(async (data) => String((await data)[0]))
  link.turn('open')
  expect(await Promise.all(answers)).toEqual(['re:b', 're:c'])
})

test('a deaf link delivers, swallows the answer and breaks the connection in the end', async () => {
  const client = await open()
  expect(await ask(client, 'a')).toBe('re:a')
  link.turn('deaf')
  const answers: string[] = []
  client.on('data', (chunk) => answers.push(String(chunk)))
  client.write('b')
  await expect.poll(() => heard).toBe('ab')
  const end = endOf(client)
  link.turn('open')
  expect(await end).toBe('ECONNRESET')
  expect(answers).toEqual([])
})

test('a refusing link breaks what is there and lets nobody in', async () => {
  const client = await open()
  expect(await ask(client, 'a')).toBe('re:a')
  const end = endOf(client)
  link.turn('refuse')
  expect(await end).toBe('ECONNRESET')
  expect(await endOf(dial())).toBe('ECONNRESET')
  link.turn('open')
  expect(await ask(await open(), 'b')).toBe('re:b')
})

test('reset and cut are what they say', async () => {
  const [first, second] = [await open(), await open()]
  expect(await ask(first, 'a')).toBe('re:a')
  expect(await ask(second, 'a')).toBe('re:a')
  const ends = [endOf(first)]
  link.reset()
  expect(await ends[0]).toBe('ECONNRESET')
  const third = await open()
  expect(await ask(third, 'b')).toBe('re:b')
  const end = endOf(third)
  link.cut()
  expect(await end).toBe('end')
})
