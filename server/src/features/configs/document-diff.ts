import { canonicalJson } from '../../platform/canonical-json.ts'
import { pointerPart } from '../../platform/json-pointer.ts'

/** One difference between two documents: a JSON pointer (RFC 6901) and what stood there before and after. */
export interface Difference {
  readonly path: string
  /** Absent when the member was added. */
  readonly before?: unknown
  /** Absent when the member was removed. */
  readonly after?: unknown
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The differences from `before` to `after`, by path. Objects are compared member by member, so that a diff
 * names the one field that changed; arrays are compared as a whole, because their order is their meaning.
 */
export function differences(before: unknown, after: unknown, path = ''): Difference[] {
  if (isObject(before) && isObject(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()
    return names.flatMap((name) => {
      const at = `${path}/${pointerPart(name)}`
      if (!Object.hasOwn(before, name)) return [{ path: at, after: after[name] }]
      if (!Object.hasOwn(after, name)) return [{ path: at, before: before[name] }]
      return differences(before[name], after[name], at)
    })
  }
  return canonicalJson(before) === canonicalJson(after) ? [] : [{ path, before, after }]
}
