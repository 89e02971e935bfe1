/** One thing that was looked at. `mend` says what to do when it is not well. */
export interface Finding {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  readonly mend?: string
}
