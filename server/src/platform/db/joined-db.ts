import type { Db } from './db.ts'
import type { Tx } from './statement.ts'

/**
 * A database whose transactions are parts of one that is open: what is done with it commits with that one. A part
 * that fails must end the whole: after an error, Postgres takes no more statements in it.
 */
export const joinedDb = (tx: Tx): Db => ({
  execute: (statement, values) => tx.execute(statement, values),
  transaction: (work) => work(tx),
  close: () => Promise.reject(new Error('the transaction belongs to somebody else')),
})
