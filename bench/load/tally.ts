/** Which of the numbered jobs ran, and how often. */
export interface Tally {
  /** Numbers from 0 to `jobs - 1`. */
  saw(n: number): void
  /** Jobs that ran at least once. */
  readonly distinct: number
  readonly repeated: number
}

export function createTally(jobs: number): Tally {
  const seen = new Uint8Array(jobs)
  let distinct = 0
  let repeated = 0
  return {
    saw: (n) => {
      if (seen[n] === undefined) throw new Error(`job ${n} is none of ours`)
      if (seen[n] === 0) distinct += 1
      else repeated += 1
      seen[n] = 1
    },
    get distinct() {
      return distinct
    },
    get repeated() {
      return repeated
    },
  }
}
