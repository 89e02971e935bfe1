import { run } from '../platform/db/statement.ts'

export const markBeforeFollowUps = run<undefined>('queue.mark_follow_ups', 'savepoint follow_ups', () => [])

/** Also after a failed statement: the transaction goes on as if nothing had happened since the mark. */
export const undoFollowUps = run<undefined>(
  'queue.undo_follow_ups',
  'rollback to savepoint follow_ups',
  () => [],
)
