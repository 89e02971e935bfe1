import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { type Command, print, printError } from './command.ts'
import { execApi, findWorkspace } from './control-api.ts'
import { type DemoProduct, startDemoProduct } from './demo/product.ts'
import { sendStripeEvent, signedStripeEvent } from './demo/stripe-event.ts'
import { printTimeline, waitForEvents } from './demo/timeline.ts'
import { ensureSecretFile, SIGNING_SECRET, STRIPE_SECRET } from './demo/workspace-setup.ts'

const DEFAULT_TYPE = 'invoice.paid'
const ENDS = ['job.succeeded', 'job.dead_lettered', 'job.retry_scheduled']

async function openProduct(port: number, signingSecret: string): Promise<DemoProduct> {
  try {
    return await startDemoProduct({ port, signingSecret })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new StartRefused(
      `Port ${port} (demo product) is taken by another program. Stop that program, or start the hub again with another DEMO_PRODUCT_PORT and set it here too.`,
      { cause: error },
    )
  }
}

async function send(config: Config, slug: string, type: string): Promise<number> {
  const workspace = await findWorkspace(config, slug)
  const secret = await ensureSecretFile(config, slug, STRIPE_SECRET)
  const signingSecret = await ensureSecretFile(config, slug, SIGNING_SECRET)
  const product = await openProduct(config.demoProductPort, signingSecret)
  try {
    const event = await signedStripeEvent({ type, secret })
    const { status, body, traceId } = await sendStripeEvent(config.urls.ingress, event)
    print(`${type} (${event.id}) → HTTP ${status} ${JSON.stringify(body)}`)
    if (status !== 200) return 1
    const exec = await execApi(config, config.urls.exec, workspace.id)
    const events = await waitForEvents(exec, traceId, (seen) => ENDS.some((end) => seen.has(end)))
    printTimeline(`What happened in ${slug}`, traceId, events)
    const taken = product.received.find((callback) => callback.answered === 200)
    if (!taken) {
      printError('\nThe product did not get the event.')
      return 1
    }
    print(
      `\nThe product on port ${config.demoProductPort} took ${taken.type} (webhook-id ${taken.id}); its signature is valid.`,
    )
    return 0
  } finally {
    await product.stop()
  }
}

/** Plays provider and product at once, so that a newcomer sees a webhook go all the way. */
export const trigger: Command = {
  name: 'trigger',
  usage: 'trigger stripe [EVENT TYPE] [--workspace SLUG]',
  summary: 'Send a signed test event to the running hub and receive its callback',
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { workspace: { type: 'string', default: 'buildos-dev' } },
    })
    const [provider, type = DEFAULT_TYPE, ...rest] = positionals
    if (provider !== 'stripe' || rest.length > 0 || !/^[a-z0-9_.]{1,100}$/.test(type))
      throw new StartRefused(
        'Usage: orchestrator trigger stripe [EVENT TYPE] [--workspace SLUG], e.g. trigger stripe invoice.paid',
      )
    return send(loadConfig(), values.workspace, type)
  },
}
