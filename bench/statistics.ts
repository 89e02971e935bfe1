/** Numbers from lists of numbers. All of them give NaN for an empty list. */

export const sorted = (values: Iterable<number>): Float64Array => Float64Array.from(values).sort()

/** Nearest rank: the smallest value that `share` of all values do not exceed. */
export function percentile(ascending: ArrayLike<number>, share: number): number {
  const rank = Math.max(1, Math.ceil(share * ascending.length))
  return ascending[rank - 1] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  const ascending = sorted(values)
  const middle = ascending.length / 2
  return Number.isInteger(middle)
    ? ((ascending[middle - 1] ?? Number.NaN) + (ascending[middle] ?? Number.NaN)) / 2
    : (ascending[Math.floor(middle)] ?? Number.NaN)
}

/** Jain's fairness index: 1 when all got the same, 1/n when one got everything (Jain, Chiu, Hawe 1984). */
export function jainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0)
  const squares = shares.reduce((total, share) => total + share * share, 0)
  return (sum * sum) / (shares.length * squares)
}

/** Microseconds on the machine's monotonic clock, which all of its processes share. */
export const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n)
