/** Bundles that fit their schema and cannot be imported. */
import type { Case } from './case.ts'
import { REASON as reason, type World } from './world.ts'
import { bundleDocument } from './world-documents.ts'

/** Where the hub of these tests is told that its webhooks come in. */
const INGRESS = 'http://127.0.0.1:1'

export function onBundles(world: World, hubUrl: string): Case[] {
  const good = bundleDocument(world, hubUrl)
  const { connectors } = good.config
  const [route = {}] = good.webhook_routes
  const refused = (name: string, bundle: object, at: string): Case => [
    name,
    'POST',
    '/bundle/import',
    { bundle: { ...good, ...bundle }, plan: '0'.repeat(64), reason },
    'bundle_invalid',
    `/body/bundle${at}`,
  ]
  const withRef = (ref: string) => ({ secret_refs: [...good.secret_refs, { name: 'another', ref }] })
  const circle = { ...connectors[world.names.callback], settings: { url: `${INGRESS}/webhooks/stripe` } }
  return [
    refused('a format of tomorrow', { format: 2 }, '/format'),
    refused(
      'of another workspace',
      { workspace: { slug: 'other-dev', environment: 'dev' } },
      '/workspace/slug',
    ),
    refused('of prod', { workspace: { slug: 'other-prod', environment: 'prod' } }, '/workspace/slug'),
    refused('a name of prod', withRef('file://stripe-prod'), '/secret_refs/3/ref'),
    refused('a value as a ref', withRef('file://sk_live_51HxYzAbCdEfGh'), '/secret_refs/3/ref'),
    refused(
      'a ref without a value',
      { ...withRef('env://NOWHERE'), webhook_routes: [{ ...route, secret_refs: ['another'] }] },
      '/secret_refs/3/ref',
    ),
    refused(
      'live events in dev',
      { webhook_routes: [{ ...route, livemode: true }] },
      '/webhook_routes/0/livemode',
    ),
    refused(
      'a route to nobody',
      { webhook_routes: [{ ...route, connector: 'nobody' }] },
      '/webhook_routes/0/connector',
    ),
    refused('a route twice', { webhook_routes: [route, route] }, '/webhook_routes/1'),
    refused(
      'a cycle',
      { config: { ...good.config, connectors: { ...connectors, [world.names.callback]: circle } } },
      '/webhook_routes/0/connector',
    ),
    [
      'another plan',
      'POST',
      '/bundle/import',
      { bundle: { ...good, webhook_routes: [] }, plan: '0'.repeat(64), reason },
      'plan_changed',
    ],
  ]
}
