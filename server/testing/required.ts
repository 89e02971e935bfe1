/**
 * Whether a component that tests need is missing. `why` says so, undefined = it is there. What is missing is said
 * aloud, and the tests may skip themselves; where `ORCH_REQUIRE` names it (or `all`) it is an error instead.
 */
export function isMissing(name: string, component: string, why: string | undefined): boolean {
  if (why === undefined) return false
  const required = (process.env.ORCH_REQUIRE ?? '').split(',').map((each) => each.trim())
  if (required.includes(name) || required.includes('all'))
    throw new Error(`the tests on ${component} must run, but ${why}`)
  process.stderr.write(`SKIPPED: the tests on ${component}; ${why}\n`)
  return true
}
