import type { ConnectorConfig } from '../connectors/connectors.ts'
import type { PolicyLevels } from '../policies/policies.ts'
import { type ConfigDocument, DEFAULT_POLICY } from './document.ts'
import { memberOf } from './members.ts'

/** What the workspace and the connector say themselves about the connector's calls. */
export const policyLevels = (
  document: ConfigDocument,
  config: Pick<ConnectorConfig, 'policy'>,
): Pick<PolicyLevels, 'workspace' | 'connector'> => ({
  workspace: memberOf(document, 'policies', DEFAULT_POLICY),
  connector: config.policy === undefined ? undefined : memberOf(document, 'policies', config.policy),
})
