import { savedDocument, savingAtOnce } from '../../../testing/saving-at-once.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { configsControl } from './configs.control.ts'
import { storeConfig } from './configs.ts'

savingAtOnce(
  '/configs/activate',
  (app, hub) => configsControl(app, hub.configDeps),
  async ({ configDeps, tenantId }, value) => {
    const document = savedDocument(`/activated-${value}`)
    const { version } = await storeConfig(configDeps, { tenantId }, document, CHANGE)
    return ['POST', '/configs/activate', { version }]
  },
)
