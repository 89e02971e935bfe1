import type { JsonSchema } from '../../define-connector.ts'
import { clearable, type Fields, integer, list, object, text } from './fields.ts'

/** One operation of Stripe's API as the tables describe it. */
export interface StripeOperation {
  readonly title: string
  readonly description: string
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Below the base URL; `{id}` is the input's `id`. */
  readonly path: string
  /** The parameters that are worth a name in a form. Stripe has many more: all are passed on. */
  readonly fields: Fields
  readonly required?: readonly string[]
  /** `object` of the answer. */
  readonly answers: string
}

const RANGE: Fields = {
  gt: integer('After', 'Later than this (Unix seconds).'),
  gte: integer('From', 'At this time or later (Unix seconds).'),
  lt: integer('Before', 'Earlier than this (Unix seconds).'),
  lte: integer('Until', 'At this time or earlier (Unix seconds).'),
}
const PAGE: Fields = {
  limit: integer('Limit', 'How many at most; 10 when absent.', { minimum: 1, maximum: 100 }),
  starting_after: text('Starting after', 'Id of the last object of the page before.', { maxLength: 255 }),
  ending_before: text('Ending before', 'Id of the first object of the page after.', { maxLength: 255 }),
  created: {
    ...object('Created', 'A range of times at which it was made.', RANGE),
    type: ['object', 'integer'],
  },
}

/** `named`: for people, in the singular and the plural. */
export interface Resource {
  readonly path: string
  readonly object: string
  readonly named: readonly [one: string, many: string]
}

const a = (noun: string): string => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`)

export const create = (
  { path, object: answers, named: [one] }: Resource,
  fields: Fields,
  required: readonly string[] = [],
): StripeOperation => ({
  title: `Create ${a(one)}`,
  description: `Makes a new ${one}.`,
  method: 'POST',
  path,
  fields,
  required,
  answers,
})

export const retrieve = ({ path, object: answers, named: [one] }: Resource): StripeOperation => ({
  title: `Retrieve ${a(one)}`,
  description: `Reads ${a(one)} by its id.`,
  method: 'GET',
  path: `${path}/{id}`,
  fields: {},
  answers,
})

export const update = (
  { path, object: answers, named: [one] }: Resource,
  fields: Fields,
): StripeOperation => ({
  title: `Update ${a(one)}`,
  description: 'Changes the fields that are given and no others. Null clears a field.',
  method: 'POST',
  path: `${path}/{id}`,
  fields: clearable(fields),
  answers,
})

export const listAll = ({ path, named: [, many] }: Resource, filters: Fields): StripeOperation => ({
  title: `List ${many}`,
  description: `One page of ${many}, the newest first.`,
  method: 'GET',
  path,
  fields: { ...filters, ...PAGE },
  answers: 'list',
})

/** An action on one object, e.g. `…/{id}/capture`. */
export const act = (
  { path, object: answers, named: [one] }: Resource,
  action: string,
  describes: { readonly title: string; readonly description: string; readonly fields?: Fields },
): StripeOperation => ({
  title: `${describes.title} ${a(one)}`,
  description: describes.description,
  method: 'POST',
  path: `${path}/{id}/${action}`,
  fields: describes.fields ?? {},
  answers,
})

export const EXPAND = list(
  'Expand',
  'Objects that the answer shall hold whole instead of their ids, e.g. `latest_invoice`.',
  { type: 'string', maxLength: 500 },
  { maxItems: 20 },
)
export const STRIPE_ACCOUNT = text(
  'Connected account',
  'Sent as `Stripe-Account`: the call is made for that account.',
  {
    pattern: '^acct_[A-Za-z0-9]+$',
    maxLength: 100,
  },
)

/** Never `.` or `..`, and nothing that has a meaning in a URL: it becomes a segment of the path. */
const pathId = (what: string): JsonSchema =>
  text('Id', `The id of the ${what}.`, { pattern: '^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$', maxLength: 255 })

/** What a caller sends: the parameters, with `id` for the path and `stripe_account` for the header. */
export function inputOf({ path, fields, required = [], answers }: StripeOperation): JsonSchema {
  const withId = path.includes('{id}')
  return {
    type: 'object',
    properties: {
      ...(withId && { id: pathId(answers.replaceAll(/[._]/g, ' ')) }),
      ...fields,
      expand: EXPAND,
      stripe_account: STRIPE_ACCOUNT,
    },
    required: [...(withId ? ['id'] : []), ...required],
  }
}

/** Stripe's object as it came. Only what every version of the API answers is held. */
export function outputOf({ answers, method }: StripeOperation): JsonSchema {
  const kind = { const: answers, description: 'The kind of object.' }
  if (answers === 'list' || answers === 'search_result')
    return {
      type: 'object',
      properties: {
        object: kind,
        data: { type: 'array', description: 'The objects of this page.' },
        has_more: { type: 'boolean', description: 'Whether there is another page.' },
      },
      required: ['object', 'data', 'has_more'],
    }
  return {
    type: 'object',
    properties: {
      object: kind,
      id: { type: 'string', description: 'Its id.' },
      ...(method === 'DELETE' &&
        answers === 'customer' && { deleted: { const: true, description: 'It is gone.' } }),
    },
    required: ['object', 'id'],
  }
}
