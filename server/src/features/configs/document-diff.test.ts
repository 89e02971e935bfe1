import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalJson } from '../../platform/canonical-json.ts'
import { type Difference, differences } from './document-diff.ts'

describe('the difference of two documents', () => {
  test.each<[string, unknown, unknown, Difference[]]>([
    ['the same', { a: { b: [1, 2] } }, { a: { b: [1, 2] } }, []],
    ['another order of members', { a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }, []],
    [
      'one field deep inside',
      { a: { b: 1, c: 2 } },
      { a: { b: 1, c: 3 } },
      [{ path: '/a/c', before: 2, after: 3 }],
    ],
    ['a new member', { a: {} }, { a: { b: null } }, [{ path: '/a/b', after: null }]],
    ['a removed member', { a: { b: null } }, { a: {} }, [{ path: '/a/b', before: null }]],
    ['a list as a whole', { a: [1, 2] }, { a: [2, 1] }, [{ path: '/a', before: [1, 2], after: [2, 1] }]],
    ['a list that becomes an object', { a: [] }, { a: {} }, [{ path: '/a', before: [], after: {} }]],
    ['null and absence', { a: null }, {}, [{ path: '/a', before: null }]],
    ['text and number', { a: 1 }, { a: '1' }, [{ path: '/a', before: 1, after: '1' }]],
    [
      'names that a JSON pointer escapes (RFC 6901 §3)',
      { 'a/b': 1, 'c~d': 1, 'e~1f': 1 },
      {},
      [
        { path: '/a~1b', before: 1 },
        { path: '/c~0d', before: 1 },
        { path: '/e~01f', before: 1 },
      ],
    ],
    [
      'names of the prototype',
      {},
      { constructor: 1, toString: 2 },
      [
        { path: '/constructor', after: 1 },
        { path: '/toString', after: 2 },
      ],
    ],
  ])('%s', (_what, before, after, expected) => {
    expect(differences(before, after)).toEqual(expected)
  })

  test('applied to the first document it gives the second', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.jsonValue({ maxDepth: 4 }), (before, after) => {
        const found = differences(before, after)
        expect(canonicalJson(apply(before, found))).toBe(canonicalJson(after))
        expect(found.length === 0).toBe(canonicalJson(before) === canonicalJson(after))
      }),
    )
  })
})

/** Applies differences as RFC 6901 reads their paths. */
function apply(document: unknown, found: readonly Difference[]): unknown {
  const result = { root: structuredClone(document) } as Record<string, unknown>
  for (const { path, ...change } of found) {
    const names = path
      .split('/')
      .slice(1)
      .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = ['root', ...names].at(-1) ?? ''
    const holder = ['root', ...names]
      .slice(0, -1)
      .reduce((at, name) => at[name] as Record<string, unknown>, result)
    if ('after' in change)
      Object.defineProperty(holder, last, {
        value: change.after,
        enumerable: true,
        configurable: true,
        writable: true,
      })
    else delete holder[last]
  }
  return result.root
}
