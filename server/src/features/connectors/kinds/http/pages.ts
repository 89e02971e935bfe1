import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import { CallFailure } from '../../../../resilience/failure.ts'
import { valueAt } from '../../template.ts'
import { DEFAULT_MAX_PAGES, type HttpPagination } from './page-settings.ts'
import { type AnswerView, bodyOf } from './response.ts'

/** All pages together. */
const MAX_TOTAL_BYTES = 8 * 1024 * 1024

/** Sends one page's request; the answer is a success. `maxBytes` is what the list has left. */
type SendPage = (url: string, maxBytes: number) => Promise<DialResponse>

/**
 * All pages of a list as one answer. It is never cut in silence: more pages or bytes than allowed, a cursor that
 * comes twice and an answer without a list are failures, and so is a time limit, which ends the page it meets.
 */
export async function readPages(
  firstUrl: string,
  pagination: HttpPagination,
  send: SendPage,
): Promise<AnswerView> {
  const maxPages = pagination.max_pages ?? DEFAULT_MAX_PAGES
  const items: unknown[] = []
  const seen = new Set<string>()
  let bytes = 0
  let url: string | undefined = firstPage(firstUrl, pagination)
  for (let page = 1; ; page += 1) {
    seen.add(url)
    const response = await sendPage(send, url, MAX_TOTAL_BYTES - bytes, page)
    bytes += response.body.length
    const { status, headers } = response
    const body = bodyOf(response)
    const list = itemsOf(body, pagination, status)
    items.push(...list)
    url = nextPage(url, pagination, { response, body, count: list.length })
    if (url === undefined) return { status, headers, body, items }
    if (seen.has(url))
      throw failed('pagination_invalid', 'the upstream names a page that has been read already', status)
    if (page >= maxPages)
      throw failed('too_many_pages', `it has more than the ${maxPages} pages that are allowed`, status)
  }
}

async function sendPage(send: SendPage, url: string, left: number, page: number): Promise<DialResponse> {
  if (left <= 0) throw failed('response_too_large', `it is larger than ${MAX_TOTAL_BYTES} bytes`)
  return send(url, left).catch((error: unknown) => {
    if (page === 1 || !(error instanceof Error)) throw error
    // Only the message is added to: class, kind and answer are those of the page.
    error.message += ` It was page ${page} of a list, of which nothing is given.`
    throw error
  })
}

const failed = (kind: string, why: string, status?: number): CallFailure =>
  new CallFailure({
    class: 'permanent',
    kind,
    message: `The list could not be read to its end: ${why}.`,
    ...(status !== undefined && { httpStatus: status }),
  })

const memberAt = (path: string | undefined, body: unknown): unknown =>
  path === undefined ? body : valueAt({ path: path.split('.') }, body)

function itemsOf(body: unknown, { items }: HttpPagination, status: number): readonly unknown[] {
  const list = memberAt(items, body)
  if (Array.isArray(list)) return list
  const where = items === undefined ? 'the body' : `response.body.${items}`
  throw failed('output_invalid', `${where} is no list`, status)
}

const firstPage = (url: string, { type, parameter, first_page: first = 1 }: HttpPagination): string =>
  type === 'page' ? withParameter(url, parameter ?? '', String(first)) : url

function nextPage(
  url: string,
  pagination: HttpPagination,
  { response, body, count }: { response: DialResponse; body: unknown; count: number },
): string | undefined {
  const { type, parameter = '' } = pagination
  if (type === 'link') return nextLink(url, response)
  if (type === 'page') {
    const ended = count < (pagination.page_size ?? 1)
    const current = Number(new URL(url).searchParams.get(parameter))
    return ended ? undefined : withParameter(url, parameter, String(current + 1))
  }
  const cursor = memberAt(pagination.next, body)
  if (cursor === undefined || cursor === null || cursor === '' || cursor === false) return undefined
  if (typeof cursor === 'string' || typeof cursor === 'number')
    return withParameter(url, parameter, String(cursor))
  throw failed('pagination_invalid', `response.body.${pagination.next} is no cursor`, response.status)
}

function withParameter(text: string, name: string, value: string): string {
  const url = new URL(text)
  url.searchParams.set(name, value)
  return url.href
}

/** One link of RFC 8288 §3: its target and its parameters. */
const LINK = /<([^<>]*)>((?:\s*;\s*[\w*!#$&+.^`|~-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",;]+))?)*)/g
const NEXT = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]+))/i

/** The target of `rel="next"`; only one of the same origin, because the credentials are sent to it. */
function nextLink(current: string, { headers, status }: DialResponse): string | undefined {
  for (const [, target = '', parameters = ''] of (headers.link ?? '').matchAll(LINK)) {
    const [, quoted, plain] = NEXT.exec(parameters) ?? []
    const relations = (quoted ?? plain ?? '').toLowerCase().split(/\s+/)
    if (!relations.includes('next')) continue
    const url = URL.parse(target, current)
    if (!url || url.origin !== new URL(current).origin || url.username !== '' || url.password !== '')
      throw failed('pagination_invalid', 'the next page is at another origin', status)
    return url.href
  }
  return undefined
}
