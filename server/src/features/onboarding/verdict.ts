export type Verdict =
  | { readonly status: 'passed'; readonly detail: string }
  | { readonly status: 'not_applicable'; readonly detail: string }

export const passed = (detail: string): Verdict => ({ status: 'passed', detail })
export const notApplicable = (why: string): Verdict => ({ status: 'not_applicable', detail: why })

/** What a check was to prove is not so. The sentence is for people who may see the workspace; no secrets in it. */
export class NotShown extends Error {
  override readonly name = 'NotShown'
  readonly mend: string | undefined

  constructor(reason: string, mend?: string) {
    super(reason)
    this.mend = mend
  }
}

/** Throws unless it is so. */
export function mustBe(isSo: boolean, reason: string, mend?: string): asserts isSo {
  if (!isSo) throw new NotShown(reason, mend)
}
