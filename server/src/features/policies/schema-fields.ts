import { Type } from 'typebox'
import { RULE_MODES } from './policy.ts'

/** Everything of a policy is optional (what is absent is inherited) and nothing else may stand in it. */
export const closed = { additionalProperties: false }

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

export const milliseconds = (minimum: number, maximum: number, description: string) =>
  Type.Optional(Type.Integer({ minimum, maximum, description: `${description} Milliseconds.` }))

export const count = (minimum: number, maximum: number, description: string) =>
  Type.Optional(Type.Integer({ minimum, maximum, description }))

/** A part of a whole, 0 to 1. */
export const share = (minimum: number, description: string) =>
  Type.Optional(Type.Number({ minimum, maximum: 1, description: `${description} A share: 0.5 is half.` }))

export const mode = (what: string) =>
  Type.Optional(
    Type.Enum(RULE_MODES, {
      description: `${what} \`enforce\` applies the rule; \`shadow\` only reports what it would have done; \`off\` does neither.`,
    }),
  )

/** What the rules say that must not have an effect twice. */
export const SAFE_ONLY = 'Works on operations that are marked as safe, and leaves all others alone.'
