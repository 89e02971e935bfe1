import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { SCOPES } from '../identities/identities.ts'

const trust = {
  issuer: Type.String({
    minLength: 1,
    maxLength: 500,
    pattern: '^[\\x21-\\x7e]+$',
    description: 'The `iss` claim of its tokens, exactly.',
  }),
  jwks_url: Type.String({
    minLength: 1,
    maxLength: 1_000,
    pattern: '^https?://',
    description: 'Where its public keys are (RFC 7517): Ed25519 or P-256. https; in dev also http.',
  }),
  scopes: Type.Array(Type.Enum([...SCOPES]), {
    minItems: 1,
    uniqueItems: true,
    description: 'What it may give. A token has those of them that it names itself.',
  }),
  subjects: Type.Optional(
    Type.Union(
      [
        Type.Array(Type.String({ pattern: '^[\\x21-\\x7e]{1,120}$' }), {
          minItems: 1,
          maxItems: 100,
          uniqueItems: true,
        }),
        Type.Null(),
      ],
      { description: 'The only `sub` claims that are accepted. Null or absent: all.' },
    ),
  ),
}

export const NewIssuerBody = Type.Object(
  {
    name: Type.String({
      pattern: '^[a-z0-9]+(-[a-z0-9]+)*$',
      maxLength: 40,
      description: 'Its subjects are called `ext:<name>:<sub>`.',
    }),
    ...trust,
    reason: Reason,
  },
  { additionalProperties: false },
)
export const IssuerBody = Type.Object({ ...trust, reason: Reason }, { additionalProperties: false })
export const IssuerParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the trusted issuer.' }),
})
export const IssuersQuery = Type.Object(PageQuery, { additionalProperties: false })
export const DeleteIssuerQuery = Type.Object({ reason: Reason }, { additionalProperties: false })

const time = { format: 'date-time' } as const

export const IssuerView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Its id.' }),
  name: Type.String({ description: 'Its name in subjects.' }),
  issuer: Type.String({ description: 'The `iss` claim of its tokens.' }),
  jwks_url: Type.String({ description: 'Where its public keys are.' }),
  scopes: Type.Array(Type.String(), { description: 'What it may give.' }),
  subjects: Type.Union([Type.Array(Type.String()), Type.Null()], {
    description: 'The only `sub` claims that are accepted; null = all.',
  }),
  created_at: Type.String({ ...time, description: 'Since when it is trusted.' }),
  updated_at: Type.String({ ...time, description: 'When it was last changed.' }),
})
export type IssuerView = Static<typeof IssuerView>
export const IssuerPage = Page(IssuerView)
