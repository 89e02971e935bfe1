import type { QueryResult, QueryResultRow } from 'pg'

/** A query with a name: the name is its prepared statement, its span, its metric label and its slow-query key. */
export interface NamedStatement {
  readonly name: string
  readonly text: string
}

/** Anything that runs statements: the pool or an open transaction. */
export interface Queryable {
  execute<Row extends QueryResultRow>(
    statement: NamedStatement,
    values: readonly unknown[],
  ): Promise<QueryResult<Row>>
}

/** An open transaction. Functions that must commit together with their caller ask for this type. */
export interface Tx extends Queryable {
  readonly isTransaction: true
}

type Bind<Args> = (args: Args) => readonly unknown[]

/**
 * Declares a statement that gives any number of rows. Row types are trusted, not checked: every statement
 * needs a test against a real Postgres. Errors: `database_unavailable`, or the driver's error for bugs.
 */
export function many<Args, Row extends QueryResultRow>(name: string, text: string, bind: Bind<Args>) {
  const statement = { name, text }
  return async (on: Queryable, args: Args): Promise<Row[]> =>
    (await on.execute<Row>(statement, bind(args))).rows
}

/** Declares a statement that gives one row or none. */
export function maybeOne<Args, Row extends QueryResultRow>(name: string, text: string, bind: Bind<Args>) {
  const rows = many<Args, Row>(name, text, bind)
  return async (on: Queryable, args: Args): Promise<Row | undefined> => (await rows(on, args))[0]
}

/** Declares a statement that always gives exactly one row; anything else is a bug and throws. */
export function one<Args, Row extends QueryResultRow>(name: string, text: string, bind: Bind<Args>) {
  const rows = many<Args, Row>(name, text, bind)
  return async (on: Queryable, args: Args): Promise<Row> => {
    const [row, ...rest] = await rows(on, args)
    if (row === undefined || rest.length > 0) throw new Error(`${name}: expected exactly one row`)
    return row
  }
}

/** Declares a statement whose result is the number of rows it touched. */
export function run<Args>(name: string, text: string, bind: Bind<Args>) {
  const statement = { name, text }
  return async (on: Queryable, args: Args): Promise<number> =>
    (await on.execute(statement, bind(args))).rowCount ?? 0
}
