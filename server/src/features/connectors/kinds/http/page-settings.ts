import { type Static, Type } from 'typebox'

const member = (title: string, description: string) =>
  Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9_$-]+(\\.[A-Za-z0-9_$-]+)*$',
      maxLength: 200,
      title,
      description,
    }),
  )

export const DEFAULT_MAX_PAGES = 10

export const HttpPagination = Type.Object(
  {
    type: Type.Enum(['cursor', 'link', 'page'], {
      title: 'Type',
      description:
        'How the next page is found: by a cursor in the body, by a `Link` header with `rel="next"` (RFC 8288), or ' +
        'by counting pages.',
    }),
    items: member('Items', 'Where the list stands in the body: `data`. Absent = the body is the list.'),
    parameter: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 100,
        title: 'Query parameter',
        description:
          'For `cursor` and `page`: the parameter that takes the cursor or the number of the page.',
      }),
    ),
    next: member(
      'Next cursor',
      'For `cursor`: where the next cursor stands in the body: `meta.next_cursor`.',
    ),
    first_page: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1, title: 'First page', description: 'For `page`. Absent = 1.' }),
    ),
    page_size: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        title: 'Page size',
        description: 'For `page`: a page with fewer items is the last one. Absent = only an empty one is.',
      }),
    ),
    max_pages: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100,
        title: 'Most pages',
        description: `A longer list fails the call; it is never cut in silence. Absent = ${DEFAULT_MAX_PAGES}.`,
      }),
    ),
  },
  {
    additionalProperties: false,
    title: 'Pagination',
    description:
      'For safe operations: reads all pages and gives all items as one list. Absent = one request, one answer.',
  },
)
export type HttpPagination = Static<typeof HttpPagination>
