/** So many at once: few round trips, and little memory. */
const PAGE = 200

/** Every row of a keyset-paged list; `read` gives the page that begins after `last`, undefined for the first one. */
export async function* everyRow<Row>(
  read: (last: Row | undefined, limit: number) => Promise<readonly Row[]>,
): AsyncGenerator<Row> {
  let last: Row | undefined
  do {
    const rows = await read(last, PAGE)
    yield* rows
    last = rows.length < PAGE ? undefined : rows.at(-1)
  } while (last !== undefined)
}
