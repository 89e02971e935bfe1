import { Type } from 'typebox'
import { versionSeen } from '../../platform/http/if-match.ts'

export { etagOf } from '../../platform/http/if-match.ts'

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

/** Errors: `validation_error` for weak tags, lists and what is no version. */
export const targetOf = (request: {
  readonly principal: { readonly tenantId: string }
  readonly headers: { readonly 'if-match'?: string | undefined }
}): Target => {
  const { tenantId } = request.principal
  const seen = versionSeen(request.headers['if-match'])
  return seen === '*' ? { tenantId } : { tenantId, ifMatch: seen ?? 'none' }
}
