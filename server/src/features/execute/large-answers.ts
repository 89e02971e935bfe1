/** Answers of keyed executions that are too large for the row of their key: payloads, owned by the execution. */
import type { Db } from '../../platform/db/db.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import type { Payloads } from '../payloads/payloads.ts'
import { type Answer, answerOf } from './answer.ts'
import type { KeyRow } from './execution-keys.ts'

export type LargeAnswers = Pick<Payloads, 'keep' | 'record' | 'findOf' | 'read'>

interface Deps {
  readonly payloads: LargeAnswers
  readonly platform: { readonly db: Db; readonly log: Log }
}

/**
 * Keeps the answer before its key ends; without that end nothing refers to it, and it is swept. The effect has happened:
 * when it cannot be kept, the caller gets his answer and who asks again hears that it is gone.
 */
export async function keepAnswer(
  { payloads, platform: { db, log } }: Deps,
  of: { readonly tenantId: string; readonly executionId: string; readonly text: string },
): Promise<void> {
  try {
    const payload = await payloads.keep(of.tenantId, Buffer.from(of.text), 'application/json')
    if (!payload) return
    await db.transaction((tx) =>
      payloads.record(tx, [{ payload, owner: { kind: 'execution', id: of.executionId } }]),
    )
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    log.error(
      { err: error, execution_id: of.executionId },
      'a large answer could not be kept for repeated calls',
    )
  }
}

/** As `answerOf`, with an answer that is kept elsewhere. Errors: also `payload_store_unavailable`, `payload_damaged`. */
export async function knownAnswer(
  { payloads }: Pick<Deps, 'payloads'>,
  tenantId: string,
  row: KeyRow,
  key: string,
): Promise<Answer> {
  if (row.verdict !== 'finished' || row.answer !== null) return answerOf(row, key)
  const kept = await payloads.findOf(tenantId, { kind: 'execution', id: row.execution_id })
  if (!kept) return answerOf(row, key)
  const bytes = await payloads.read(tenantId, kept.id)
  return answerOf({ ...row, answer: bytes.toString() }, key)
}
