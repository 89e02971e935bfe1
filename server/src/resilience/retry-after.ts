const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const TIME = '(\\d{2}):(\\d{2}):(\\d{2})'
const MONTH = `(${MONTHS.join('|')})`

/** The three forms of an HTTP-date (RFC 9110 §5.6.7): a sender uses the first, a recipient takes them all. */
const IMF_FIXDATE = new RegExp(`^[A-Z][a-z]{2}, (\\d{2}) ${MONTH} (\\d{4}) ${TIME} GMT$`)
const RFC_850 = new RegExp(`^[A-Z][a-z]+day, (\\d{2})-${MONTH}-(\\d{2}) ${TIME} GMT$`)
const ASCTIME = new RegExp(`^[A-Z][a-z]{2} ${MONTH} ([ \\d]\\d) ${TIME} (\\d{4})$`)

/**
 * The wait in ms that a `Retry-After` header asks for (RFC 9110 §10.2.3: seconds or a date); 0 for a date in
 * the past, undefined for a missing header or one that says neither. `now` is in epoch ms.
 */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  const text = value?.trim() ?? ''
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1_000, Number.MAX_SAFE_INTEGER)
  const date = parseHttpDate(text, now)
  return date === undefined ? undefined : Math.max(0, date - now)
}

function parseHttpDate(text: string, now: number): number | undefined {
  const fixdate = IMF_FIXDATE.exec(text)
  if (fixdate) {
    const [, day, month, year, ...time] = fixdate
    return epochOf(Number(year), month, day, time)
  }
  const rfc850 = RFC_850.exec(text)
  if (rfc850) {
    const [, day, month, shortYear, ...time] = rfc850
    // Two digits that would lie more than 50 years ahead mean the past (RFC 9110 §5.6.7).
    const thisYear = new Date(now).getUTCFullYear()
    const year = thisYear - (thisYear % 100) + Number(shortYear)
    return epochOf(year > thisYear + 50 ? year - 100 : year, month, day, time)
  }
  const asctime = ASCTIME.exec(text)
  if (!asctime) return undefined
  const [, month, day, hours = '', minutes = '', seconds = '', year] = asctime
  return epochOf(Number(year), month, day, [hours, minutes, seconds])
}

function epochOf(year: number, month = '', day = '', time: readonly string[]): number | undefined {
  const [hours = 0, minutes = 0, seconds = 0] = time.map(Number)
  const epoch = Date.UTC(year, MONTHS.indexOf(month), Number(day), hours, minutes, seconds)
  return Number.isNaN(epoch) ? undefined : epoch
}
