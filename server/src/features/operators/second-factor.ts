/**
 * The second factor: an authenticator app (RFC 6238), and ten recovery codes for the day when the phone is gone.
 *
 * Invariants. A code of the app is accepted once, and never one of an earlier step than the last accepted, also when
 * two come at once. A recovery code works once. Secrets lie sealed, recovery codes as hashes; each is shown once.
 */
import { randomBytes } from 'node:crypto'
import type { Queryable } from '../../platform/db/statement.ts'
import { type Envelope, EnvelopeFailure } from '../../platform/envelope.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { OperatorDeps } from './deps.ts'
import { sha256 } from './one-time-token.ts'
import * as sql from './second-factor.sql.ts'
import { base32, newTotpSecret, otpauthUrl, stepOfCode } from './totp.ts'

const RECOVERY_CODES = 10
/** 80 bits, so that a plain hash is enough. */
const RECOVERY_BYTES = 10
const ISSUER = 'Orchestrator'

const contextOf = (operatorId: string): readonly string[] => ['operator-totp', operatorId]

export interface Enrolment {
  readonly secret: Secret
  /** For the QR code; holds the secret. */
  readonly otpauthUrl: Secret
}

/** Makes a new secret that waits for its first code; one that waited before is gone. */
export async function beginEnrolment(
  { db, envelope }: Pick<OperatorDeps, 'db' | 'envelope'>,
  { id, email }: { readonly id: string; readonly email: string },
): Promise<Enrolment> {
  const bytes = newTotpSecret()
  const sealed = await envelope.seal(new Secret(bytes.toString('base64')), contextOf(id)).catch(unavailable)
  await sql.setPending(db, { operatorId: id, sealed })
  return {
    secret: new Secret(base32(bytes)),
    otpauthUrl: new Secret(otpauthUrl(bytes, { issuer: ISSUER, account: email })),
  }
}

/**
 * A code of the new secret makes it the second factor, and gives new recovery codes. Errors: `conflict` when none
 * waits; undefined = the code is wrong.
 */
export async function confirmEnrolment(
  tx: Queryable,
  { clock, envelope }: Pick<OperatorDeps, 'clock' | 'envelope'>,
  { operatorId, code }: { readonly operatorId: string; readonly code: Secret },
): Promise<readonly Secret[] | undefined> {
  const found = await sql.findSecrets(tx, { operatorId })
  if (!found?.totp_pending)
    throw new Problem('conflict', 'No enrolment is waiting for its first code. Begin one first.')
  const secret = await open(envelope, operatorId, found.totp_pending)
  const step = stepOfCode(secret, code.reveal(), { at: clock.now(), afterStep: found.totp_step })
  if (step === undefined) return undefined
  if ((await sql.confirmPending(tx, { operatorId, sealed: found.totp_pending, step })) === 0) return undefined
  return newRecoveryCodes(tx, operatorId)
}

const open = async (envelope: Pick<Envelope, 'open'>, operatorId: string, sealed: Buffer): Promise<Buffer> =>
  Buffer.from((await envelope.open(sealed, contextOf(operatorId)).catch(unavailable)).reveal(), 'base64')

/** Without the key nobody's code can be looked at; what does not open with the key is a fault of ours. */
function unavailable(error: unknown): never {
  if (!(error instanceof EnvelopeFailure) || error.reason === 'not_authentic') throw error
  throw new Problem(
    'secrets_unavailable',
    'Second factors cannot be checked at the moment: the key-encryption key is out of reach.',
    { retryAfterSeconds: 30, cause: error },
  )
}

/** True for a code of the app that was not accepted before; it is spent with that. */
export async function takeAppCode(
  { db, clock, envelope }: Pick<OperatorDeps, 'clock' | 'envelope'> & { readonly db: Queryable },
  { operatorId, code }: { readonly operatorId: string; readonly code: Secret },
): Promise<boolean> {
  const found = await sql.findSecrets(db, { operatorId })
  if (!found?.totp_sealed) return false
  const secret = await open(envelope, operatorId, found.totp_sealed)
  const step = stepOfCode(secret, code.reveal(), { at: clock.now(), afterStep: found.totp_step })
  return step !== undefined && (await sql.takeStep(db, { operatorId, step })) > 0
}

/** True for a recovery code that was not used before; it is spent with that. Dashes, spaces and case do not matter. */
async function takeRecoveryCode(
  db: Queryable,
  { operatorId, code }: { readonly operatorId: string; readonly code: Secret },
): Promise<boolean> {
  const hash = hashOf(code.reveal())
  return (await sql.useRecoveryCode(db, { operatorId, hash })) > 0
}

const hashOf = (code: string): Buffer => sha256(code.replace(/[\s-]/g, '').toUpperCase())

/** Either kind of code. */
export const takeCode = async (
  deps: Pick<OperatorDeps, 'clock' | 'envelope'> & { readonly db: Queryable },
  given: { readonly operatorId: string; readonly code: Secret },
): Promise<boolean> => (await takeAppCode(deps, given)) || takeRecoveryCode(deps.db, given)

/** New recovery codes; the ones before are gone, used or not. */
export async function newRecoveryCodes(tx: Queryable, operatorId: string): Promise<readonly Secret[]> {
  const codes = Array.from({ length: RECOVERY_CODES }, () =>
    (base32(randomBytes(RECOVERY_BYTES)).match(/.{4}/g) ?? []).join('-'),
  )
  await sql.replaceRecoveryCodes(tx, { operatorId, hashes: codes.map(hashOf) })
  return codes.map((code) => new Secret(code))
}

export const recoveryCodesLeft = async (db: Queryable, operatorId: string): Promise<number> =>
  (await sql.countRecoveryCodes(db, { operatorId }))?.left ?? 0

/** False when there was none. Recovery codes go with it. */
export const removeSecondFactor = async (tx: Queryable, operatorId: string): Promise<boolean> =>
  (await sql.removeSecret(tx, { operatorId })) > 0

export interface RewrappedFactors {
  readonly rewrapped: number
  /** Those that do not open, each in one sentence without its value. */
  readonly broken: readonly string[]
  /** Those that another key still wraps, the broken ones among them. */
  readonly left: number
}

/**
 * Part of a change of the key-encryption key: wraps what the present key does not wrap. One that does not open is named,
 * and the others go on. Errors: `EnvelopeFailure` when the keys cannot be reached.
 */
export async function rewrapSecondFactors(
  db: Queryable,
  envelope: Pick<Envelope, 'needsRewrap' | 'rewrap'>,
): Promise<RewrappedFactors> {
  const broken: string[] = []
  let rewrapped = 0
  for (const { id, totp_sealed, totp_pending } of await sql.listSealed(db, {}))
    for (const before of [totp_sealed, totp_pending]) {
      if (!before) continue
      try {
        if (!envelope.needsRewrap(before)) continue
        const after = await envelope.rewrap(before, contextOf(id))
        rewrapped += await sql.replaceSealed(db, { operatorId: id, before, after })
      } catch (error) {
        if (!(error instanceof EnvelopeFailure) || error.reason === 'key_unavailable') throw error
        broken.push(`second factor of operator ${id}: ${error.message}`)
      }
    }
  return { rewrapped, broken, left: broken.length }
}
