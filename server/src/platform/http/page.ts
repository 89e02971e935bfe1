import { type TSchema, Type } from 'typebox'
import { Problem } from '../../problems.ts'

const MAX_PAGE = 200

/** Query parameters of every list: keyset pagination, never offsets (they skip and repeat rows under writes). */
export const PageQuery = {
  cursor: Type.Optional(
    Type.String({ maxLength: 512, description: 'Where the last page ended: its `next_cursor`.' }),
  ),
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: MAX_PAGE, default: 50, description: 'How many rows at most.' }),
  ),
}

/** The answer of every list. */
export const Page = <Item extends TSchema>(item: Item) =>
  Type.Object({
    data: Type.Array(item, { description: 'This page, in the order of the list.' }),
    next_cursor: Type.Union([Type.String(), Type.Null()], {
      description: 'Send it as `cursor` for the next page; null at the end.',
    }),
  })

/** An opaque cursor from the key of the last row. */
export const encodeCursor = (key: readonly (string | number)[]): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url')

/**
 * Reads a cursor back; `check` says whether the parts have the right shape, `where` is its JSON pointer in the
 * request. Errors: `validation_error` naming the cursor, for anything that this list did not make itself.
 */
export function decodeCursor<Key extends readonly (string | number)[]>(
  cursor: string,
  check: (parts: readonly unknown[]) => parts is Key,
  where = '/query/cursor',
): Key {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    if (Array.isArray(parts) && check(parts)) return parts
  } catch {
    // Falls through to the refusal: a broken cursor and a foreign one are the same mistake.
  }
  throw new Problem('validation_error', `${where} is not a cursor of this list.`, {
    details: [{ path: where, message: 'is not a cursor of this list' }],
  })
}

/** Cuts the extra row that was read to know whether there is a next page, and makes its cursor. */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  key: (row: Row) => readonly (string | number)[],
  item: (row: Row) => Item,
): { data: Item[]; next_cursor: string | null } {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  return {
    data: shown.map(item),
    next_cursor: rows.length > limit && last !== undefined ? encodeCursor(key(last)) : null,
  }
}
