import { Type } from 'typebox'

const name = (description: string) =>
  Type.String({ pattern: '^[a-z0-9]+([._-][a-z0-9]+)*$', maxLength: 63, description })

export const ConnectorName = name('Connector of the active config.')
export const OperationName = name('Operation of the connector.')

/** The call itself, in the bodies of everything that runs an operation, now or later. */
export const CallFields = {
  connector: ConnectorName,
  operation: OperationName,
  input: Type.Unknown({ description: "Fits the operation's input schema." }),
}

/**
 * Texts of the caller's own. The length of a key stands in its pattern, because JSON Schema has no other place
 * for it, and without `additionalProperties` a key that does not fit would carry any value at all.
 */
export const Metadata = (kept: string) =>
  Type.Record(Type.String({ pattern: '^[\\w.:-]{1,40}$' }), Type.String({ maxLength: 500 }), {
    additionalProperties: false,
    maxProperties: 20,
    description: `${kept} At most 20 texts of up to 500 characters, under names of up to 40 letters, digits and \`_.:-\`.`,
  })
