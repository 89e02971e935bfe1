import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type Pem, selfSigned, throwAwayAuthority } from '../../../testing/self-signed.ts'
import { StartRefused } from '../start-refused.ts'
import { clientCertificateSha256 } from './client-certificate.ts'
import { followTlsFiles, readTlsFiles, type TlsFiles, tlsOptions } from './tls-files.ts'

const authority = throwAwayAuthority('clients')
let folder: string
let files: TlsFiles

const write = async ({ cert, key }: Pem, ca = authority.cert) => {
  await writeFile(files.certFile, cert)
  await writeFile(files.keyFile, key)
  await writeFile(String(files.clientCaFile), ca)
}
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orch-tls-files-'))
  const at = (name: string) => join(folder, name)
  files = { certFile: at('cert.pem'), keyFile: at('key.pem'), clientCaFile: at('ca.pem') }
  await write(selfSigned('first.test'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** A listener that follows the files, and what it sees of its clients. */
async function listener() {
  const captured = capturedLog()
  const seen: (string | undefined)[] = []
  const material = await readTlsFiles(files)
  const server: Server = createServer(tlsOptions(material))
  server.on('secureConnection', (socket) => {
    seen.push(clientCertificateSha256(socket))
    socket.on('error', () => undefined)
  })
  const stop = followTlsFiles(server, files, material, { log: captured.log, lookMs: 10 })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    await stop()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  /** The name in the certificate of a new connection. */
  const shakeHands = async (client: Partial<Pem> = {}, session?: Buffer) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...client,
      ...(session && { session }),
    })
    let ticket: Buffer | undefined
    socket.on('session', (data: Buffer) => {
      ticket = data
    })
    await once(socket, 'secureConnect')
    const name = socket.getPeerCertificate().subject.CN
    const resumed = socket.isSessionReused()
    const count = seen.length
    socket.end()
    await once(socket, 'close')
    return { name, resumed, ticket, count }
  }
  return { shakeHands, seen, captured }
}

describe('a TLS listener', () => {
  it('takes a renewed certificate while it runs', async () => {
    const { shakeHands } = await listener()
    expect((await shakeHands()).name).toBe('first.test')
    await write(selfSigned('second.test'))
    await vi.waitFor(async () => expect((await shakeHands()).name).toBe('second.test'))
  })

  it('keeps the certificate in force when the new files do not fit together', async () => {
    const { shakeHands, captured } = await listener()
    await writeFile(files.certFile, selfSigned('other.test').cert)
    await vi.waitFor(() => expect(captured.text()).toContain('the old ones stay in force'))
    expect((await shakeHands()).name).toBe('first.test')
  })

  it('follows the authorities of its clients', async () => {
    const { shakeHands, seen } = await listener()
    const client = authority.issue('product')
    await shakeHands(client)
    expect(seen.at(-1)).toMatch(/^[A-Za-z0-9_-]{43}$/)
    await write(selfSigned('first.test'), throwAwayAuthority('others').cert)
    await vi.waitFor(async () => {
      await shakeHands(client)
      expect(seen.at(-1)).toBeUndefined()
    })
  })

  it('resumes no session: a certificate is verified on each connection', async () => {
    const { shakeHands, seen } = await listener()
    const client = authority.issue('product')
    const { ticket } = await shakeHands(client)
    const again = await shakeHands({}, ticket)
    expect(again.resumed).toBe(false)
    expect(seen.at(-1)).toBeUndefined()
  })
})

describe('TLS files', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['that are missing', () => rm(files.keyFile)],
    ['with the key of another certificate', () => writeFile(files.keyFile, selfSigned('x').key)],
    ['that are no PEM', () => writeFile(files.certFile, 'certificate')],
    ['with an authority that is no PEM', () => writeFile(String(files.clientCaFile), 'authority')],
  ])('%s keep the process from starting, with a sentence that names them', async (_what, spoil) => {
    await spoil()
    const failure: unknown = await readTlsFiles(files).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(StartRefused)
    expect(String(failure)).toContain(folder)
    expect(String(failure)).not.toContain('PRIVATE KEY')
  })
})
