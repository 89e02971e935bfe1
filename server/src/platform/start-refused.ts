/**
 * The process cannot start until a person mends what the message says. The message is the whole help: it is
 * printed without a stack, says what is wrong and what to do, and carries no secrets.
 */
export class StartRefused extends Error {
  override readonly name = 'StartRefused'
}
