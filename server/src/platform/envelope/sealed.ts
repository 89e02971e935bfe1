import { EnvelopeFailure } from './keys.ts'

/** The parts of a sealed value: the data key under the key `keyId`, and the value under the data key. */
export interface Sealed {
  readonly keyId: string
  readonly wrapped: Buffer
  readonly encrypted: Buffer
}

const VERSION = 1
const HEAD_BYTES = 4
const MAX_KEY_ID_BYTES = 255
const MAX_WRAPPED_BYTES = 65_535

/** Version (1 byte), length of the key id (1), length of the wrapped key (2, big-endian), key id, wrapped key, value. */
export function formatSealed({ keyId, wrapped, encrypted }: Sealed): Buffer {
  const id = Buffer.from(keyId)
  if (id.length === 0 || id.length > MAX_KEY_ID_BYTES || wrapped.length > MAX_WRAPPED_BYTES)
    throw new RangeError('the id of a key or a wrapped key is too long')
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(VERSION, 0)
  head.writeUInt8(id.length, 1)
  head.writeUInt16BE(wrapped.length, 2)
  return Buffer.concat([head, id, wrapped, encrypted])
}

/** Errors: `not_authentic` for what `formatSealed` did not write. */
export function parseSealed(bytes: Buffer): Sealed {
  if (bytes.length < HEAD_BYTES || bytes.readUInt8(0) !== VERSION) throw unknownForm()
  const idEnd = HEAD_BYTES + bytes.readUInt8(1)
  const wrappedEnd = idEnd + bytes.readUInt16BE(2)
  if (bytes.length < wrappedEnd) throw unknownForm()
  return {
    keyId: bytes.subarray(HEAD_BYTES, idEnd).toString(),
    wrapped: bytes.subarray(idEnd, wrappedEnd),
    encrypted: bytes.subarray(wrappedEnd),
  }
}

const unknownForm = (): EnvelopeFailure =>
  new EnvelopeFailure('not_authentic', 'The sealed value is not of a form that this version knows.')
