import { Problem } from '../../problems.ts'

const ONE_VERSION = /^(?:"([0-9]{1,10})"|([0-9]{1,10}))$/

/**
 * The version that a request was made from (RFC 9110 §13.1.1); `*` = whatever is there, undefined = it says nothing.
 * Errors: `validation_error` for weak tags, lists and what is no version.
 */
export function versionSeen(header: string | undefined): number | '*' | undefined {
  const tag = header?.trim()
  if (tag === undefined || tag === '*') return tag
  const [, quoted, bare] = ONE_VERSION.exec(tag) ?? []
  const version = quoted ?? bare
  if (version !== undefined) return Number(version)
  const message = tag.startsWith('W/')
    ? 'is a weak tag, which cannot be compared here: send the version as it came in ETag, e.g. "7"'
    : tag.includes(',')
      ? 'is a list: send the one version that the change was made from, e.g. "7"'
      : 'must be a version in quotation marks as it came in ETag, e.g. "7", or *'
  throw new Problem('validation_error', `/headers/if-match ${message}.`, {
    details: [{ path: '/headers/if-match', message }],
  })
}

/** The `ETag` of a version: what `If-Match` takes back. */
export const etagOf = (version: number): string => `"${version}"`
