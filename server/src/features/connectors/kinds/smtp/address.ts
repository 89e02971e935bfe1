import { domainToASCII } from 'node:url'

/** A sender or recipient; the domain is in lower case and ASCII. */
export interface Mailbox {
  readonly name: string
  readonly address: string
}

/** RFC 5321 §4.5.3.1: an address is at most a path of 256 with its brackets, its first part at most 64. */
const MAX_ADDRESS = 254
const MAX_LOCAL = 64
const MAX_NAME = 200
/**
 * A dot-atom (RFC 5322 §3.2.3). Quoted ones exist, are taken by hardly anyone, and are a way to smuggle; letters
 * beyond ASCII would need a server with SMTPUTF8.
 */
const LOCAL = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
/** Control characters, and marks that reorder or hide text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/

/** True for a text that can stand on one line. */
export const isLine = (text: string): boolean => !UNPRINTABLE.test(text) && text.isWellFormed()

/** `ada@example.com` or `Ada Lovelace <ada@example.com>`; undefined when it is neither. */
export function parseMailbox(text: string): Mailbox | undefined {
  if (!isLine(text)) return undefined
  const trimmed = text.trim()
  const open = trimmed.endsWith('>') ? trimmed.lastIndexOf('<') : -1
  if (open < 0) return mailboxOf('', trimmed)
  const name = trimmed
    .slice(0, open)
    .trim()
    .replace(/^"([^"\\]*)"$/, '$1')
  // An address in the name is what phishing shows instead of the real one.
  if (name.length > MAX_NAME || /[<>"\\@]/.test(name)) return undefined
  return mailboxOf(name, trimmed.slice(open + 1, -1))
}

function mailboxOf(name: string, address: string): Mailbox | undefined {
  const at = address.lastIndexOf('@')
  const local = address.slice(0, Math.max(at, 0))
  const domain = domainToASCII(address.slice(at + 1))
  if (at < 1 || local.length > MAX_LOCAL || !LOCAL.test(local)) return undefined
  if (domain === '' || !domain.split('.').every((label) => LABEL.test(label))) return undefined
  const whole = `${local}@${domain}`
  return whole.length > MAX_ADDRESS ? undefined : { name, address: whole }
}

export const domainOf = ({ address }: Mailbox): string => address.slice(address.lastIndexOf('@') + 1)
