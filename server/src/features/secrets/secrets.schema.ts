import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { SECRET_STORES } from './stores/registry.ts'

const schemes = SECRET_STORES.map(({ scheme }) => scheme).join('|')

export const SecretRefParams = Type.Object({
  name: Type.String({
    pattern: '^[a-z0-9]+(-[a-z0-9]+)*$',
    maxLength: 63,
    description: 'Name of the secret ref.',
  }),
})

export const PutSecretRefBody = Type.Object(
  {
    ref: Type.String({
      pattern: `^(${schemes})://`,
      maxLength: 300,
      description: `Where the value is, never the value itself: ${SECRET_STORES.map(({ addressRule }) => addressRule).join('; or ')}.`,
    }),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const DeleteSecretRefQuery = Type.Object({ reason: Reason }, { additionalProperties: false })
export const SecretRefsQuery = Type.Object(PageQuery, { additionalProperties: false })
export const SecretRefGone = Type.Null({ description: 'Deleted.' })

export const SecretRefView = Type.Object({
  name: Type.String({ description: 'Name of the secret ref.' }),
  ref: Type.String({ description: 'Where the value is.' }),
  created_at: Type.String({ format: 'date-time', description: 'When it was made.' }),
  updated_at: Type.String({ format: 'date-time', description: 'When it was last pointed elsewhere.' }),
})
export type SecretRefView = Static<typeof SecretRefView>
export const SecretRefPage = Page(SecretRefView)

export const SecretHealthView = Type.Object({
  name: Type.String({ description: 'Name of the secret ref.' }),
  ref: Type.String({ description: 'Where the value is.' }),
  resolves: Type.Boolean({ description: 'True when this process finds a usable value there now.' }),
  why: Type.Optional(Type.String({ description: 'Why not.' })),
})
export type SecretHealthView = Static<typeof SecretHealthView>
export const SecretHealthPage = Page(SecretHealthView)
