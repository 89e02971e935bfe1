import { hash } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

interface Shown {
  readonly sha256: string
  /** Milliseconds since the epoch. */
  readonly validUntil: number
}

/** A connection's certificate never changes: renegotiation is gone with TLS 1.3 and switched off before it. */
const shown = new WeakMap<Socket, Shown | null>()

/**
 * The client certificate of a connection: base64url SHA-256 of its DER form (`x5t#S256`, RFC 8705 §3.1). Only of one
 * that the listener trusts and that is valid now; undefined for everything else. Never from a header.
 */
export function clientCertificateSha256(socket: Socket): string | undefined {
  let known = shown.get(socket)
  if (known === undefined) {
    known = readCertificate(socket)
    shown.set(socket, known)
  }
  return known !== null && Date.now() < known.validUntil ? known.sha256 : undefined
}

function readCertificate(socket: Socket): Shown | null {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return null
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) return null
  return {
    sha256: hash('sha256', certificate.raw, 'base64url'),
    validUntil: certificate.validToDate.getTime(),
  }
}
