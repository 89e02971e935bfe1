import { X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { throwAwayAuthority } from '../../testing/self-signed.ts'
import { trustedChain } from './certificate-chain.ts'

const read = ({ cert }: { readonly cert: string }) => new X509Certificate(cert)
const NOW = Date.parse('2026-11-21T12:00:00Z')
const root = throwAwayAuthority('Root')
const between = root.authority('Between')
const nobody = async () => undefined

const chainOf = (
  leaf: X509Certificate,
  of: Partial<Parameters<typeof trustedChain>[2]> & { readonly along?: readonly X509Certificate[] } = {},
) => trustedChain(leaf, of.along ?? [], { trusted: [read(root)], nowMs: NOW, issuerOf: nobody, ...of })

describe('a certificate is trusted', () => {
  it('when a trusted authority has issued it, as long as both hold', async () => {
    const chain = await chainOf(read(root.issue('a.example.com', '270101')))
    expect(chain).toMatchObject({
      fromMs: Date.parse('2020-01-01T00:00:00Z'),
      untilMs: Date.parse('2027-01-01T00:00:00Z'),
    })
  })

  it('through authorities in between, that came along or can be had', async () => {
    const leaf = read(between.issue('a.example.com'))
    expect(await chainOf(leaf)).toBeUndefined()
    expect(await chainOf(leaf, { along: [read(between)] })).toBeDefined()
    const asked: X509Certificate[] = []
    const issuerOf = async (certificate: X509Certificate) => {
      asked.push(certificate)
      return read(between)
    }
    expect(await chainOf(leaf, { issuerOf })).toBeDefined()
    expect(asked).toEqual([leaf])
  })
})

describe('a certificate is not trusted', () => {
  it('before and after its time', async () => {
    const leaf = read(root.issue('a.example.com', '261120'))
    expect(await chainOf(leaf)).toBeUndefined()
    expect(await chainOf(leaf, { nowMs: Date.parse('2019-12-31T00:00:00Z') })).toBeUndefined()
    expect(await chainOf(leaf, { nowMs: Date.parse('2026-11-19T00:00:00Z') })).toBeDefined()
  })

  it('when another authority of the same name has issued it', async () => {
    const impostor = throwAwayAuthority('Root')
    expect(await chainOf(read(impostor.issue('a.example.com')))).toBeUndefined()
    expect(await chainOf(read(impostor.issue('a.example.com')), { along: [read(impostor)] })).toBeUndefined()
  })

  it('when what has issued it is itself no authority', async () => {
    const forger = root.issue('forger.example.com')
    const forged = throwAwayAuthority('forger.example.com').issue('a.example.com')
    expect(await chainOf(read(forged), { along: [read(forger)] })).toBeUndefined()
  })

  it('when what is said to be its issuer is not', async () => {
    const leaf = read(between.issue('a.example.com'))
    expect(await chainOf(leaf, { issuerOf: async () => read(root) })).toBeUndefined()
  })

  it('when the way up has no end', async () => {
    let last = root.authority('Step')
    const along = [read(last)]
    for (let at = 0; at < 8; at += 1) {
      last = last.authority(`Step ${at}`)
      along.push(read(last))
    }
    expect(await chainOf(read(last.issue('a.example.com')), { along })).toBeUndefined()
  })
})
