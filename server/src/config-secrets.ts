import { Type } from 'typebox'

/** Settings of what seals stored secrets and of the Vault that holds others. */
export const SECRET_SETTINGS = {
  KEK_SOURCE: Type.Enum(['file', 'env', 'vault-transit'], {
    default: 'file',
    description:
      'Where the key-encryption keys of stored secrets are: `file` = `secrets.json` in KEYS_DIR, made at the first start; `env` = KEK and KEK_PREVIOUS; `vault-transit` = the transit engine of the Vault at VAULT_ADDR, which never gives the key away.',
  }),
  KEK: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9+/_-]{43}=?$',
      description:
        'With `KEK_SOURCE=env`: the key-encryption key, base64 of 32 random bytes (`openssl rand -base64 32`). Without it stored secrets are neither kept nor read; prod refuses one that is not random.',
    }),
  ),
  KEK_PREVIOUS: Type.String({
    default: '',
    pattern: '^([A-Za-z0-9+/_-]{43}=?(\\s*,\\s*|$))*$',
    description:
      'With `KEK_SOURCE=env`: earlier key-encryption keys, separated by commas, that still open what they sealed. Take them away after `orchestrator secrets rewrap`.',
  }),
  VAULT_TRANSIT_KEY: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$',
    default: 'orchestrator',
    description: 'With `KEK_SOURCE=vault-transit`: name of the key, of type `aes256-gcm96`.',
  }),
  VAULT_TRANSIT_MOUNT: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9_-]*$',
    default: 'transit',
    description: 'With `KEK_SOURCE=vault-transit`: where the transit engine is mounted.',
  }),
  VAULT_ADDR: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description: 'HashiCorp Vault or OpenBao, for `vault://` secret refs. Absent: there is none.',
    }),
  ),
  VAULT_NAMESPACE: Type.Optional(
    Type.String({ minLength: 1, description: 'Namespace in Vault, sent as `X-Vault-Namespace`.' }),
  ),
  VAULT_PREFIX: Type.String({
    pattern: '^([A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*)?$',
    default: 'orchestrator',
    description:
      'Path in a KV version 2 mount below which each workspace has its folder: `vault://MOUNT/PATH#FIELD` reads `<VAULT_PREFIX>/<workspace slug>/PATH`.',
  }),
  VAULT_TOKEN: Type.Optional(
    Type.String({ minLength: 1, description: 'Token for Vault; renewed while it can be.' }),
  ),
  VAULT_TOKEN_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'File with the token for Vault, read again at every login (as Vault Agent writes it).',
    }),
  ),
  VAULT_ROLE_ID: Type.Optional(
    Type.String({ minLength: 1, description: 'AppRole of the hub in Vault, instead of a token.' }),
  ),
  VAULT_SECRET_ID: Type.Optional(Type.String({ minLength: 1, description: 'Secret id of that AppRole.' })),
  VAULT_SECRET_ID_FILE: Type.Optional(
    Type.String({ minLength: 1, description: 'File with the secret id, read again at every login.' }),
  ),
}
