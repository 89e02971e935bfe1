import type { JsonSchema } from '../../define-connector.ts'

/** Parameters of one operation by their name at Stripe. */
export type Fields = Readonly<Record<string, JsonSchema>>

export const text = (title: string, description: string, more: JsonSchema = {}): JsonSchema => ({
  type: 'string',
  title,
  description,
  maxLength: 5_000,
  ...more,
})
export const id = (title: string, prefix: string, description: string): JsonSchema =>
  text(title, `${description} Starts with \`${prefix}\`.`, { maxLength: 255 })
export const oneOf = (title: string, values: readonly string[], description: string): JsonSchema => ({
  type: 'string',
  title,
  enum: values,
  description,
})
export const flag = (title: string, description: string): JsonSchema => ({
  type: 'boolean',
  title,
  description,
})
export const integer = (title: string, description: string, more: JsonSchema = {}): JsonSchema => ({
  type: 'integer',
  title,
  description,
  ...more,
})
export const amount = (description: string): JsonSchema =>
  integer('Amount', `${description} In the smallest unit of the currency: 1000 is 10.00 euros.`, {
    minimum: 0,
  })
export const object = (title: string, description: string, properties: Fields = {}): JsonSchema => ({
  type: 'object',
  title,
  description,
  properties,
})
export const list = (title: string, description: string, items: JsonSchema, more: JsonSchema = {}) => ({
  type: 'array',
  title,
  description,
  items,
  maxItems: 100,
  ...more,
})

/** Fields that null clears: for updates. */
export const clearable = (fields: Fields): Fields =>
  Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [
      name,
      typeof field.type === 'string' && field.enum === undefined
        ? { ...field, type: [field.type, 'null'] }
        : field,
    ]),
  )

export const CURRENCY = text('Currency', 'Three letters in lower case, e.g. `eur` (ISO 4217).', {
  pattern: '^[a-zA-Z]{3}$',
})
export const CUSTOMER = id('Customer', 'cus_', 'The customer that it belongs to.')
export const METADATA: JsonSchema = {
  type: 'object',
  title: 'Metadata',
  description: 'Texts of your own, up to 50 names. A name with an empty value is removed.',
  maxProperties: 50,
  additionalProperties: { type: ['string', 'number', 'boolean', 'null'] },
}
export const DESCRIPTION = text('Description', 'For people; Stripe may show it to the customer.')
export const PAYMENT_METHOD = id('Payment method', 'pm_', 'What is charged.')
export const ADDRESS = object('Address', 'Postal address.', {
  line1: text('Line 1', 'Street and number.'),
  line2: text('Line 2', 'Flat, building and the like.'),
  city: text('City', 'City or town.'),
  state: text('State', 'State, county or province.'),
  postal_code: text('Postal code', 'Postal code.'),
  country: text('Country', 'Two letters, e.g. `DE` (ISO 3166-1).'),
})
