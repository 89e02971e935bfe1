import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, expect, test, vi } from 'vitest'
import { createResolveHost } from './resolve-host.ts'

const cleanUps: (() => void)[] = []
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp()
})

const A = 1
const AAAA = 28

/** A name server (RFC 1035) that knows the given records and answers NXDOMAIN, or REFUSED, for the rest. */
async function nameServer(records: Record<string, Partial<Record<number, number[]>>>, otherwise = 3) {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  socket.on('message', (query, { port, address }) => {
    const labels: string[] = []
    let at = 12
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length))
      at += 1 + length
    }
    const question = query.subarray(12, at + 5)
    const known = records[labels.join('.').toLowerCase()]
    const data = known?.[query.readUInt16BE(at + 1)]
    const head = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, known ? 0x80 : 0x80 | otherwise])
    const counts = Buffer.from([0, 1, 0, data ? 1 : 0, 0, 0, 0, 0])
    const answer =
      data && Buffer.from([0xc0, 12, ...query.subarray(at + 1, at + 5), 0, 0, 0, 60, 0, data.length, ...data])
    socket.send(Buffer.concat([head, counts, question, answer ?? Buffer.alloc(0)]), port, address)
  })
  await once(socket, 'listening')
  cleanUps.push(() => socket.close())
  return `127.0.0.1:${socket.address().port}`
}

test('IPv4 and IPv6 answers come together, and one family is enough', async () => {
  const v6 = [0x2a, 0, 0x14, 0x50, ...Array.from({ length: 11 }, () => 0), 1]
  const server = await nameServer({
    'both.example': { [A]: [1, 2, 3, 4], [AAAA]: v6 },
    'old.example': { [A]: [5, 6, 7, 8] },
  })
  const system = vi.fn(async () => [])
  const resolveHost = createResolveHost({ servers: [server], system })
  expect(await resolveHost('both.example')).toEqual(['1.2.3.4', '2a00:1450::1'])
  expect(await resolveHost('old.example')).toEqual(['5.6.7.8'])
  expect(system).not.toHaveBeenCalled()
})

test('what DNS does not know is asked of the system, a fault of the name server is not', async () => {
  const system = vi.fn(async () => ['10.0.0.9'])
  const unknown = await nameServer({})
  expect(await createResolveHost({ servers: [unknown], system })('hosts-file.example')).toEqual(['10.0.0.9'])
  expect(system).toHaveBeenCalledTimes(1)
  const broken = await nameServer({}, 2)
  await expect(createResolveHost({ servers: [broken], system })('any.example')).rejects.toThrow(/ESERVFAIL/)
  expect(system).toHaveBeenCalledTimes(1)
})

test('the hosts file works for names of one label', async () => {
  const addresses = await createResolveHost()('localhost')
  expect(addresses.every((address) => address === '127.0.0.1' || address === '::1')).toBe(true)
  expect(addresses.length).toBeGreaterThan(0)
})

test('at most two lookups of the system run at once, and a failed one gives its place back', async () => {
  const running: { resolve(addresses: string[]): void; reject(error: Error): void }[] = []
  const system = vi.fn(() => new Promise<string[]>((resolve, reject) => running.push({ resolve, reject })))
  const resolveHost = createResolveHost({ system })
  const answers = Promise.allSettled(['a', 'b', 'c', 'd'].map(resolveHost))
  expect(system).toHaveBeenCalledTimes(2)
  running[0]?.reject(new Error('no'))
  await vi.waitFor(() => expect(system).toHaveBeenCalledTimes(3))
  running[1]?.resolve(['1.1.1.1'])
  await vi.waitFor(() => expect(system).toHaveBeenCalledTimes(4))
  running[2]?.resolve(['1.1.1.1'])
  running[3]?.resolve(['1.1.1.1'])
  expect((await answers).map(({ status }) => status)).toEqual([
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ])
})
