import { readFile } from 'node:fs/promises'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { replaceFile } from '../private-file.ts'
import { StartRefused } from '../start-refused.ts'
import { type KeySet, SIGNING_ALGORITHM } from './key-set.ts'

/** The file: a JWK Set (RFC 7517) with private parts and our times beside them. */
const KeyFile = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.Literal('OKP'),
      crv: Type.Literal('Ed25519'),
      alg: Type.Literal(SIGNING_ALGORITHM),
      use: Type.Literal('sig'),
      kid: Type.String({ minLength: 1, maxLength: 100 }),
      x: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
      d: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
      created_at: Type.String(),
      signs_from: Type.String(),
      retires_at: Type.Union([Type.String(), Type.Null()]),
    }),
    { minItems: 1 },
  ),
})

function time(text: string, path: string): number {
  const value = Date.parse(text)
  if (Number.isNaN(value)) throw new Error(`the key file ${path} holds a time that cannot be read`)
  return value
}

function parseKeyFile(text: string, path: string): KeySet {
  let file: Static<typeof KeyFile> | undefined
  try {
    const parsed: unknown = JSON.parse(text)
    if (Value.Check(KeyFile, parsed)) file = parsed
  } catch {
    // JSON.parse quotes the text in its message, and the text is a private key: the sentence below says enough.
  }
  if (!file)
    throw new StartRefused(
      `The key file ${path} is not a set of signing keys: bring it back from a backup, or move it away. Then new keys are made, and living tokens end.`,
    )
  return file.keys.map(({ kid, x, d, created_at, signs_from, retires_at }) => ({
    kid,
    x,
    d,
    createdAt: time(created_at, path),
    signsFrom: time(signs_from, path),
    retiresAt: retires_at === null ? null : time(retires_at, path),
  }))
}

const iso = (epochMs: number): string => new Date(epochMs).toISOString()

const formatKeyFile = (keys: KeySet): string => {
  const file: Static<typeof KeyFile> = {
    keys: keys.map(({ kid, x, d, createdAt, signsFrom, retiresAt }) => ({
      kty: 'OKP',
      crv: 'Ed25519',
      alg: SIGNING_ALGORITHM,
      use: 'sig',
      kid,
      x,
      d,
      created_at: iso(createdAt),
      signs_from: iso(signsFrom),
      retires_at: retiresAt === null ? null : iso(retiresAt),
    })),
  }
  return `${JSON.stringify(file, null, 2)}\n`
}

/** Reads the keys. Errors: no such file, or a file that is not what `writeKeyFile` writes. */
export const readKeyFile = async (path: string): Promise<KeySet> =>
  parseKeyFile(await readFile(path, 'utf8'), path)

/** Replaces the file as a whole: a reader, or a start after a power cut, finds the old keys or the new ones. */
export const writeKeyFile = (path: string, keys: KeySet): Promise<void> =>
  replaceFile(path, formatKeyFile(keys))
