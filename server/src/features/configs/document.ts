import { type Static, Type } from 'typebox'
import { ConnectorConfig } from '../connectors/connectors.ts'
import { PolicyDocument } from '../policies/policies.ts'

const NAME = Type.String({ pattern: '^(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*$' })

/** The policy that connectors without a policy of their own use, when the document has one of this name. */
export const DEFAULT_POLICY = 'default'

/** Everything that decides how a workspace's calls are made (DESIGN D1). Secrets and webhook routes stay outside. */
export const ConfigDocument = Type.Object(
  {
    policies: Type.Record(NAME, PolicyDocument, {
      additionalProperties: false,
      maxProperties: 200,
      description: `Policies by name. \`${DEFAULT_POLICY}\` is inherited by every connector.`,
    }),
    connectors: Type.Record(NAME, ConnectorConfig, {
      additionalProperties: false,
      maxProperties: 500,
      description: 'Connectors by name.',
    }),
  },
  { additionalProperties: false, description: 'The config of a workspace: policies and connectors.' },
)
export type ConfigDocument = Static<typeof ConfigDocument>

export const EMPTY_DOCUMENT: ConfigDocument = { policies: {}, connectors: {} }
