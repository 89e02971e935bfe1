import { hash, verify } from '@node-rs/argon2'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'

/** OWASP's first choice for argon2id: 19 MiB, two passes, one thread. About 40 ms. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
/** Each takes 19 MiB and a thread of the pool that also reads files. */
const AT_ONCE = 2
/** So many wait, less than a second; more are a flood. */
const WAITING = 20

export interface Passwords {
  /** PHC string. Errors: `overloaded`. */
  hash(password: Secret): Promise<string>
  /** False also for `undefined`, after the same work. Errors: `overloaded`. */
  matches(password: Secret, passwordHash: string | undefined): Promise<boolean>
}

/** Hashes at most two passwords at the same time. Tests may ask for a lower cost. */
export function createPasswords({ cost = COST }: { readonly cost?: typeof COST } = {}): Passwords {
  const waiting: (() => void)[] = []
  let running = 0

  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= AT_ONCE) {
      if (waiting.length >= WAITING)
        throw new Problem('overloaded', 'Too many people sign on at once.', { retryAfterSeconds: 1 })
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else running += 1
    try {
      return await work()
    } finally {
      // The place goes from hand to hand, so that nobody takes it in between.
      const next = waiting.shift()
      if (next) next()
      else running -= 1
    }
  }

  // What an unknown name is compared with, so that it costs what a known one does.
  const nobody = hash('nobody', cost)
  nobody.catch(() => undefined)
  const text = (password: Secret): string => password.reveal().normalize('NFKC')

  return {
    hash: (password) => inTurn(() => hash(text(password), cost)),
    matches: (password, passwordHash) =>
      inTurn(async () => {
        const same = await verify(passwordHash ?? (await nobody), text(password))
        return same && passwordHash !== undefined
      }),
  }
}

export const PASSWORD_MIN_LENGTH = 12
export const PASSWORD_MAX_LENGTH = 128
const FEWEST_DIFFERENT = 5
/** So much must be left of a password without the words that everybody tries. */
const FEWEST_OWN = 6
const EVERYBODYS = [
  'password',
  'passwort',
  'welcome',
  'letmein',
  'admin',
  'changeme',
  'secret',
  'orchestrator',
]
const ROWS = ['abcdefghijklmnopqrstuvwxyz', '0123456789', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm']
const LOOKALIKES: Readonly<Record<string, string>> = {
  '0': 'o',
  '1': 'i',
  '3': 'e',
  '4': 'a',
  '5': 's',
  '@': 'a',
  $: 's',
}

/** Why a new password is too easy, as a sentence for its owner; undefined = it may be taken. Long is better than odd. */
export function passwordFault(password: Secret, about: readonly string[]): string | undefined {
  const text = password.reveal().normalize('NFKC').toLowerCase()
  const letters = [...text]
  if (letters.length < PASSWORD_MIN_LENGTH) return `must have at least ${PASSWORD_MIN_LENGTH} characters`
  if (letters.length > PASSWORD_MAX_LENGTH) return `must have at most ${PASSWORD_MAX_LENGTH} characters`
  if (new Set(letters).size < FEWEST_DIFFERENT) return 'repeats too few characters'
  const steps = letters.slice(1).filter((letter, at) => follows(letters[at] ?? '', letter)).length
  if (steps * 3 >= (letters.length - 1) * 2) return 'is a run of neighbouring characters'
  const words = [...EVERYBODYS, ...about.flatMap((name) => name.toLowerCase().split(/[^a-z0-9]+/))]
  const left = words
    .filter((word) => word.length >= 4)
    .reduce((rest, word) => rest.replaceAll(word, ''), plainly(text))
  return [...left].length < FEWEST_OWN ? 'is made of words that everybody tries first' : undefined
}

const plainly = (text: string): string => text.replace(/[01345@$]/g, (letter) => LOOKALIKES[letter] ?? letter)

/** The same key again, or its neighbour in the alphabet or on the keyboard. */
const follows = (before: string, after: string): boolean =>
  before === after ||
  ROWS.some((row) => {
    const [at, then] = [row.indexOf(before), row.indexOf(after)]
    return at >= 0 && then >= 0 && Math.abs(at - then) === 1
  })
