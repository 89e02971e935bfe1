import { api, savingAtOnce } from '../../../testing/saving-at-once.ts'
import { connectorsControl } from './connectors.control.ts'

savingAtOnce(
  '/connectors/:name',
  (app, hub) => connectorsControl(app, hub.configDeps),
  async (_hub, value) => ['PUT', '/connectors/api', { connector: api(`/of-${value}`) }],
)
