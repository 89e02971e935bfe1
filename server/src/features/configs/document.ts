import { type Static, Type } from 'typebox'
import { ConnectorConfig } from '../connectors/connectors.ts'
import { PolicyDocument } from '../policies/policies.ts'
import { QUOTA_MAXIMA } from '../workspaces/workspaces.ts'

/** Policies of a document; its connectors have a quota that goes no higher than their maximum. */
export const MOST_POLICIES = 200
export const MOST_CONNECTORS = QUOTA_MAXIMA.connectors

const NAME = Type.String({ pattern: '^(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*$' })

/** The policy that connectors without a policy of their own use, when the document has one of this name. */
export const DEFAULT_POLICY = 'default'

/** Everything that decides how a workspace's calls are made (DESIGN D1). Secrets and webhook routes stay outside. */
export const ConfigDocument = Type.Object(
  {
    policies: Type.Record(NAME, PolicyDocument, {
      additionalProperties: false,
      maxProperties: MOST_POLICIES,
      description: `Policies by name. \`${DEFAULT_POLICY}\` is inherited by every connector.`,
    }),
    connectors: Type.Record(NAME, ConnectorConfig, {
      additionalProperties: false,
      maxProperties: MOST_CONNECTORS,
      description: 'Connectors by name.',
    }),
  },
  { additionalProperties: false, description: 'The config of a workspace: policies and connectors.' },
)
export type ConfigDocument = Static<typeof ConfigDocument>

export const EMPTY_DOCUMENT: ConfigDocument = { policies: {}, connectors: {} }
