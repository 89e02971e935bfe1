import { Type } from 'typebox'

export const ProviderParams = Type.Object({
  provider: Type.String({ description: 'Webhook provider, e.g. `stripe`.' }),
})

export const ProviderRouteParams = Type.Object({
  ...ProviderParams.properties,
  route_id: Type.String({ description: 'Id of the webhook route.' }),
})

export const WebhookAccepted = Type.Object({
  received: Type.Literal(true, { description: 'The event is committed.' }),
  inbox_id: Type.String({ description: 'The inbox row; of the first copy when this is a duplicate.' }),
  duplicate: Type.Boolean({ description: 'The event was taken before; nothing is delivered again.' }),
})

export const WebhookQuarantined = Type.Object({
  received: Type.Literal(true, { description: 'It is kept.' }),
  quarantined: Type.Literal(true, {
    description: 'It is from the provider, but no route may have it: a person has to say whose it is.',
  }),
})
