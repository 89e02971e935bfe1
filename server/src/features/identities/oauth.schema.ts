import { type Static, Type } from 'typebox'

/** Unknown parameters are allowed and ignored, as RFC 6749 §3.2 demands. */
export const TokenRequest = Type.Object(
  {
    grant_type: Type.Optional(Type.String({ maxLength: 100, description: 'Always `client_credentials`.' })),
    client_id: Type.Optional(
      Type.String({ maxLength: 200, description: 'Id of the service identity, unless sent by HTTP Basic.' }),
    ),
    client_secret: Type.Optional(
      Type.String({ maxLength: 200, description: 'Its secret, unless sent by HTTP Basic.' }),
    ),
    scope: Type.Optional(
      Type.String({
        maxLength: 1_000,
        description: 'Scopes separated by spaces. Absent: every scope of this plane that the identity has.',
      }),
    ),
  },
  { additionalProperties: true },
)
export type TokenRequest = Static<typeof TokenRequest>

export const TokenAnswer = Type.Object({
  access_token: Type.String({ description: 'Send it as `Authorization: Bearer <access_token>`.' }),
  token_type: Type.Literal('Bearer', { description: 'RFC 6750.' }),
  expires_in: Type.Integer({ description: 'Seconds.' }),
  scope: Type.String({ description: 'The scopes that the token has.' }),
})

export const Jwks = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.String({ description: 'Key type: `OKP`.' }),
      crv: Type.String({ description: 'Curve: `Ed25519`.' }),
      x: Type.String({ description: 'The public key, base64url.' }),
      kid: Type.String({ description: 'Id of the key, as in the header of the tokens that it signed.' }),
      alg: Type.String({ description: 'Algorithm: `EdDSA`.' }),
      use: Type.String({ description: 'Always `sig`.' }),
    }),
    { description: 'The keys in use; several during a rotation.' },
  ),
})
