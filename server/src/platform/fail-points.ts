/**
 * Named places at which a process can be made to die, for tests of what is left behind (FoundationDB calls the idea
 * BUGGIFY). Nothing is armed unless the process was started so; an unarmed place costs one look at an empty set.
 */
const armed = new Set<string>()

/** Arms places by their names, for the life of the process. */
export function armFailPoints(names: readonly string[]): void {
  for (const name of names) armed.add(name)
}

/** Ends the process here and now, as a kill -9 does, when the place is armed. */
export function failPoint(name: string): void {
  if (armed.size > 0 && armed.has(name)) process.kill(process.pid, 'SIGKILL')
}
