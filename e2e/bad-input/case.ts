/** A request that fits its schema and means nothing; `at` is where the answer has to point. */
export type Case = readonly [
  name: string,
  method: string,
  path: string,
  body: unknown,
  code: string,
  at?: string,
]
