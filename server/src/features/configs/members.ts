import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import type { ConfigDocument } from './document.ts'

type Part = keyof ConfigDocument
type Member<P extends Part> = ConfigDocument[P][string]

/** A policy or connector by its name; undefined when the document has none. Names like `constructor` are names. */
export const memberOf = <P extends Part>(document: ConfigDocument, part: P, name: string) =>
  Object.hasOwn(document[part], name) ? (document[part][name] as Member<P>) : undefined

/** The edit that creates or replaces a member. */
export const withMember =
  <P extends Part>(part: P, name: string, member: Member<P>) =>
  (document: ConfigDocument): ConfigDocument => ({
    ...document,
    [part]: { ...document[part], [name]: member },
  })

/** The edit that takes a member out; throws what `absent` gives when there is none. */
export const withoutMember =
  (part: Part, name: string, absent: () => Error) =>
  (document: ConfigDocument): ConfigDocument => {
    if (!Object.hasOwn(document[part], name)) throw absent()
    const { [name]: _removed, ...others } = document[part]
    return { ...document, [part]: others }
  }

const isNameKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string'

/** Members in the order of their names, as `item` shows them. Errors: `validation_error` for a cursor of another list. */
export function pageOfMembers<P extends Part, Item>(
  document: ConfigDocument,
  part: P,
  page: { readonly cursor?: string | undefined; readonly limit: number },
  item: (name: string, member: Member<P>) => Item,
): { data: Item[]; next_cursor: string | null } {
  const after = page.cursor === undefined ? '' : decodeCursor(page.cursor, isNameKey)[0]
  const members = Object.entries(document[part]) as [string, Member<P>][]
  const rest = members.filter(([name]) => name > after).sort(([left], [right]) => (left < right ? -1 : 1))
  return pageOf(
    rest,
    page.limit,
    ([name]) => [name],
    ([name, member]) => item(name, member),
  )
}
