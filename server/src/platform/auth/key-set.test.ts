import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jwksDocument, type KeySet, rotate, signingKey, verifyingKeys } from './key-set.ts'

const RULES = { publishDelayMs: 60_000, tokenLifeMs: 605_000 }
const START = 1_000_000

const fresh = (kid: string) => ({ kid, x: `x-${kid}`, d: `d-${kid}` })
const kids = (keys: KeySet) => keys.map(({ kid }) => kid)

describe('rotation of a key set', () => {
  it('lets the first key sign at once', () => {
    const set = rotate([], fresh('a'), START, RULES)
    expect(signingKey(set, START)?.kid).toBe('a')
  })

  it('publishes a new key at once and signs with it only after the delay', () => {
    const set = rotate(rotate([], fresh('a'), START, RULES), fresh('b'), START + 1_000, RULES)
    const switchAt = START + 1_000 + RULES.publishDelayMs
    expect(kids(verifyingKeys(set, START + 1_000))).toEqual(['a', 'b'])
    expect(signingKey(set, switchAt - 1)?.kid).toBe('a')
    expect(signingKey(set, switchAt)?.kid).toBe('b')
  })

  it('keeps an old key until its last token has expired, and not longer', () => {
    const set = rotate(rotate([], fresh('a'), START, RULES), fresh('b'), START, RULES)
    const end = START + RULES.publishDelayMs + RULES.tokenLifeMs
    expect(kids(verifyingKeys(set, end - 1))).toEqual(['a', 'b'])
    expect(kids(verifyingKeys(set, end))).toEqual(['b'])
    expect(kids(rotate(set, fresh('c'), end, RULES))).toEqual(['b', 'c'])
  })

  it('goes on with the oldest key when the clock was set back before all of them', () => {
    const set = rotate([], fresh('a'), START, RULES)
    expect(signingKey(set, START - 86_400_000)?.kid).toBe('a')
  })

  it('never refuses a living token, whatever the moments of rotations and signatures', () => {
    const steps = fc.array(fc.record({ wait: fc.integer({ min: 0, max: 400_000 }), rotates: fc.boolean() }), {
      maxLength: 40,
    })
    fc.assert(
      fc.property(steps, (plan) => {
        let now = START
        let set = rotate([], fresh('0'), now, RULES)
        const tokens: { kid: string; until: number }[] = []
        plan.forEach(({ wait, rotates }, index) => {
          now += wait
          if (rotates) set = rotate(set, fresh(String(index + 1)), now, RULES)
          const signer = signingKey(set, now)
          expect(signer).toBeDefined()
          tokens.push({ kid: signer?.kid ?? '', until: now + RULES.tokenLifeMs })
          const accepted = kids(verifyingKeys(set, now))
          for (const token of tokens) if (token.until > now) expect(accepted).toContain(token.kid)
        })
      }),
    )
  })

  it('shows public parts only', () => {
    const document = jwksDocument(rotate([], fresh('a'), START, RULES), START)
    expect(document).toEqual({
      keys: [{ kty: 'OKP', crv: 'Ed25519', x: 'x-a', kid: 'a', alg: 'EdDSA', use: 'sig' }],
    })
  })
})
