import { Type } from 'typebox'
import { Problem } from '../../problems.ts'

/** What a request wants to change: the active config of its workspace, perhaps only at a certain version. */
export interface Target {
  readonly tenantId: string
  /**
   * The active version that the caller saw; `none` = it says nothing, and therefore may add but not replace;
   * undefined = whatever is active (`If-Match: *`).
   */
  readonly ifMatch?: number | 'none' | undefined
}

/**
 * Optimistic locking (RFC 9110 §13.1.1). The tag is that of the whole config, which always exists: before the first
 * version it is 0.
 */
export const IfMatchHeaders = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      maxLength: 200,
      description:
        'The active version that the change was made from, e.g. `"7"`: when another one is active, the answer is 412 ' +
        'with what has changed since. `*` stands for whatever is active. What would replace something needs one or the other (428).',
    }),
  ),
})

const ONE_VERSION = /^(?:"([0-9]{1,10})"|([0-9]{1,10}))$/

/** Errors: `validation_error` for weak tags, lists and what is no version. */
export const targetOf = (request: {
  readonly principal: { readonly tenantId: string }
  readonly headers: { readonly 'if-match'?: string | undefined }
}): Target => {
  const { tenantId } = request.principal
  const header = request.headers['if-match']?.trim()
  if (header === undefined) return { tenantId, ifMatch: 'none' }
  if (header === '*') return { tenantId }
  const [, quoted, bare] = ONE_VERSION.exec(header) ?? []
  const version = quoted ?? bare
  if (version !== undefined) return { tenantId, ifMatch: Number(version) }
  const message = header.startsWith('W/')
    ? 'is a weak tag, which cannot be compared here: send the version as it came in ETag, e.g. "7"'
    : header.includes(',')
      ? 'is a list: send the one version that the change was made from, e.g. "7"'
      : 'must be a version in quotation marks as it came in ETag, e.g. "7", or *'
  throw new Problem('validation_error', `/headers/if-match ${message}.`, {
    details: [{ path: '/headers/if-match', message }],
  })
}

/** The `ETag` of a config version: what `If-Match` takes back. */
export const etagOf = (version: number): string => `"${version}"`
