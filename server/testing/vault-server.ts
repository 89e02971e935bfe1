import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface VaultServer {
  readonly url: string
  readonly roleId: string
  readonly secretId: string
  /** `METHOD path`, in their order. */
  readonly requests: string[]
  /** The headers of the last request. */
  headers(): IncomingMessage['headers']
  /** A token that nobody had to log in for. */
  newToken(leaseSeconds?: number): string
  /** Ends every token that was given so far. */
  revokeAll(): void
  /** Adds fields to the secret at a path of the KV mount `kv`. */
  write(path: string, fields: Readonly<Record<string, unknown>>): void
  /** Every path of `kv` below another prefix is refused from now on, as a policy does. */
  allowOnly(prefix: string): void
  /** A new version of the transit key. */
  rotateTransit(): void
  /** Answers with this status from now on; 0 = works again. */
  fail(status: number): void
  /** Seconds that tokens of a login live. */
  leaseSeconds: number
  close(): Promise<void>
}

const TRANSIT = /^transit\/(encrypt|decrypt)\/orchestrator$/

/**
 * Stands in for Vault where there is none: the parts of the HTTP API that the hub uses (KV version 2, AppRole, tokens,
 * transit), written from HashiCorp's public API documentation. It is not Vault, and proves nothing about a live one.
 */
export async function startVaultServer(): Promise<VaultServer> {
  const tokens = new Map<string, number>()
  const secrets = new Map<string, Record<string, unknown>>()
  const transit = [randomBytes(32)]
  const requests: string[] = []
  let allowed = ''
  let failing = 0
  let headers: IncomingMessage['headers'] = {}
  const [roleId, secretId] = [randomUUID(), randomUUID()]

  const isLive = (token: unknown): token is string =>
    typeof token === 'string' && (tokens.get(token) ?? 0) > performance.now()
  const newToken = (leaseSeconds = 3_600): string => {
    const token = `hvs.${randomBytes(18).toString('base64url')}`
    tokens.set(token, performance.now() + leaseSeconds * 1_000)
    return token
  }
  const refusal = (status: number, ...errors: string[]) => ({ status, body: { errors } })
  const auth = (token: string) => ({
    status: 200,
    body: { auth: { client_token: token, lease_duration: server.leaseSeconds, renewable: true } },
  })

  const crypt = (verb: string, body: Record<string, unknown>) => {
    const aad = Buffer.from(String(body.associated_data ?? ''), 'base64')
    if (verb === 'encrypt') {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', transit.at(-1) ?? '', nonce).setAAD(aad)
      const text = Buffer.concat([
        cipher.update(Buffer.from(String(body.plaintext), 'base64')),
        cipher.final(),
      ])
      const bytes = Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64')
      return { status: 200, body: { data: { ciphertext: `vault:v${transit.length}:${bytes}` } } }
    }
    const [, version = '', encoded = ''] = /^vault:v(\d+):(.*)$/.exec(String(body.ciphertext)) ?? []
    const key = transit[Number(version) - 1]
    if (!key) return refusal(400, 'ciphertext or signature version is disallowed by policy (too old)')
    const bytes = Buffer.from(encoded, 'base64')
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12)).setAAD(aad)
      decipher.setAuthTag(bytes.subarray(12, 28))
      const plain = Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()])
      return { status: 200, body: { data: { plaintext: plain.toString('base64') } } }
    } catch {
      return refusal(400, 'cipher: message authentication failed')
    }
  }

  const answer = (method: string, path: string, token: unknown, body: Record<string, unknown>) => {
    if (failing !== 0) return refusal(failing, 'Vault is sealed')
    if (method === 'POST' && path === 'auth/approle/login')
      return body.role_id === roleId && body.secret_id === secretId
        ? auth(newToken(server.leaseSeconds))
        : refusal(400, 'invalid role or secret ID')
    if (!isLive(token)) return refusal(403, 'permission denied')
    if (method === 'GET' && path === 'auth/token/lookup-self') {
      const ttl = Math.round(((tokens.get(token) ?? 0) - performance.now()) / 1_000)
      return { status: 200, body: { data: { ttl, renewable: true } } }
    }
    if (method === 'POST' && path === 'auth/token/renew-self') {
      tokens.set(token, performance.now() + server.leaseSeconds * 1_000)
      return auth(token)
    }
    const verb = TRANSIT.exec(path)?.[1]
    if (method === 'POST' && verb) return crypt(verb, body)
    if (method !== 'GET' || !path.startsWith('kv/data/')) return refusal(404)
    const place = path.slice('kv/data/'.length)
    if (!place.startsWith(allowed)) return refusal(403, 'permission denied')
    const data = secrets.get(place)
    return data ? { status: 200, body: { data: { data, metadata: { version: 1 } } } } : refusal(404)
  }

  const http = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const path = (request.url ?? '').replace(/^\/v1\//, '')
      requests.push(`${request.method} ${path}`)
      headers = request.headers
      const text = Buffer.concat(chunks).toString()
      const parsed = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
      const { status, body } = answer(request.method ?? '', path, request.headers['x-vault-token'], parsed)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const server: VaultServer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    roleId,
    secretId,
    requests,
    leaseSeconds: 3_600,
    headers: () => headers,
    newToken,
    revokeAll: () => tokens.clear(),
    write: (path, fields) => secrets.set(path, { ...secrets.get(path), ...fields }),
    allowOnly: (prefix) => {
      allowed = prefix
    },
    rotateTransit: () => transit.push(randomBytes(32)),
    fail: (status) => {
      failing = status
    },
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve())
        http.closeAllConnections()
      }),
  }
  return server
}
