/**
 * Certificate and key of a TLS listener, from files that are replaced while it runs: a renewed certificate needs no
 * restart. Files that do not fit together leave the old ones in force.
 */
import { constants, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:https'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { Log } from '../log.ts'
import { StartRefused } from '../start-refused.ts'

export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
  /** Authorities of client certificates; absent = the listener asks for none. */
  readonly clientCaFile?: string | undefined
}

export interface TlsMaterial {
  readonly cert: string
  readonly key: string
  readonly ca?: string
}

const LOOK_MS = 5_000

/** What `https.createServer` takes. No certificate is demanded: whoever needs one looks for it. */
export const tlsOptions = (material: TlsMaterial): TlsServerOptions => ({
  ...contextOptions(material),
  requestCert: material.ca !== undefined,
  // One that does not verify counts as none; public routes and unbound tokens need none.
  rejectUnauthorized: false,
})

export type TlsServerOptions = SecureContextOptions & { requestCert: boolean; rejectUnauthorized: boolean }

const contextOptions = (material: TlsMaterial): SecureContextOptions => ({
  ...material,
  minVersion: 'TLSv1.2',
  // A resumed session would show a certificate that was verified long ago, by authorities of then.
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
})

/** Reads the files. Errors (StartRefused): one that cannot be read, or a key that is not the certificate's. */
export async function readTlsFiles({ certFile, keyFile, clientCaFile }: TlsFiles): Promise<TlsMaterial> {
  const read = (path: string) =>
    readFile(path, 'utf8').catch((cause: Error) => {
      throw new StartRefused(`The TLS file ${path} cannot be read.`, { cause })
    })
  const [cert, key, ca] = await Promise.all([
    read(certFile),
    read(keyFile),
    clientCaFile === undefined ? undefined : read(clientCaFile),
  ])
  const material = { cert, key, ...(ca !== undefined && { ca }) }
  try {
    createSecureContext(contextOptions(material))
    // OpenSSL overlooks what is no certificate here, and without authorities Node would take the public ones.
    if (ca !== undefined) new X509Certificate(ca)
  } catch {
    // OpenSSL's sentence is not for people, and its error may hold parts of the key.
    throw new StartRefused(
      `The TLS files ${[certFile, keyFile, clientCaFile].filter(Boolean).join(', ')} are no PEM certificate with its key.`,
    )
  }
  return material
}

/** Puts changed files in force for new connections. Returns the way to stop. */
export function followTlsFiles(
  server: Pick<Server, 'setSecureContext'>,
  files: TlsFiles,
  first: TlsMaterial,
  { log, lookMs = LOOK_MS }: { readonly log: Pick<Log, 'info' | 'error'>; readonly lookMs?: number },
): () => Promise<void> {
  let inForce = JSON.stringify(first)
  let failing = false
  const look = async (): Promise<void> => {
    try {
      const found = await readTlsFiles(files)
      failing = false
      if (JSON.stringify(found) === inForce) return
      server.setSecureContext(contextOptions(found))
      inForce = JSON.stringify(found)
      log.info('the changed TLS files are in force')
    } catch (error) {
      if (!failing)
        log.error({ err: error }, 'the changed TLS files are not usable; the old ones stay in force')
      failing = true
    }
  }
  const timer = setInterval(() => void look(), lookMs).unref()
  return async () => clearInterval(timer)
}
