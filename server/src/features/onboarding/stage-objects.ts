import { randomBytes } from 'node:crypto'
import type { PlaneClient } from './plane-client.ts'
import { changeDocument, type Step } from './plane-documents.ts'
import { accountOf, CONNECTORS, POLICIES, secretNamesOf } from './stage-names.ts'

export const EMITTED = 'onboarding_verified'
export const HASTY_ATTEMPT_MS = 300

/** Values that only this run knows. */
export interface StageSecrets {
  readonly signing: string
  readonly webhook: string
  /** The account of the provider that the run's webhook route is for. */
  readonly account: string
}

const randomSecret = (): string => `whsec_${randomBytes(24).toString('base64')}`

const RULES = {
  [POLICIES.hasty]: { timeouts: { attempt_ms: HASTY_ATTEMPT_MS, total_ms: 6_000 } },
  [POLICIES.once]: { job_retry: { max_attempts: 1 } },
  [POLICIES.few]: {
    rate_limits: { connector: { mode: 'enforce', permits: 4, period_ms: 2_000, burst: 4 } },
    retry: { max_attempts: 1 },
  },
}

const input = {
  type: 'object',
  properties: { mark: { type: 'string' } },
  additionalProperties: false,
}

const operations = {
  look: { title: 'Look', method: 'GET', path: '/ok', query: { mark: '{{input.mark}}' }, input },
  take: {
    title: 'Take',
    method: 'POST',
    path: '/take',
    body: '{{input}}',
    input,
    idempotency_key_header: 'Idempotency-Key',
  },
  wait: { title: 'Wait in vain', method: 'GET', path: '/slow', input },
  fail: {
    title: 'Fail until mended',
    method: 'POST',
    path: '/broken',
    body: '{{input}}',
    input,
    idempotency_key_header: 'Idempotency-Key',
  },
}

const upstream = (baseUrl: string, policy?: string) => ({
  kind: 'http',
  title: 'Onboarding verification',
  ...(policy !== undefined && { policy }),
  settings: { base_url: baseUrl, operations },
})

const stageConnectors = (baseUrl: string, signing: string) => ({
  [CONNECTORS.plain]: upstream(baseUrl),
  [CONNECTORS.hasty]: upstream(baseUrl, POLICIES.hasty),
  [CONNECTORS.once]: upstream(baseUrl, POLICIES.once),
  [CONNECTORS.few]: upstream(baseUrl, POLICIES.few),
  [CONNECTORS.callback]: {
    kind: 'callback',
    title: 'Onboarding verification',
    settings: { url: `${baseUrl}/callback` },
    secrets: { signing_secret: signing },
  },
})

/** Only what a neighbour needs: the same name and the same limit as in the workspace that is verified. */
export const addNeighbourObjects = (
  control: PlaneClient,
  baseUrl: string,
  reason: string,
): Promise<unknown> =>
  changeDocument(control, reason, (own) => ({
    ...own,
    policies: { ...own.policies, [POLICIES.few]: RULES[POLICIES.few] },
    connectors: { ...own.connectors, [CONNECTORS.few]: upstream(baseUrl, POLICIES.few) },
  }))

/** Adds everything, and gives the step that the config has made. Errors: `NotShown` with what the hub had against it. */
export async function addStageObjects(
  control: PlaneClient,
  of: { readonly baseUrl: string; readonly runId: string; readonly live: boolean; readonly reason: string },
): Promise<{ readonly secrets: StageSecrets; readonly step: Step | undefined }> {
  const { baseUrl, runId, live, reason } = of
  const names = secretNamesOf(runId)
  const secrets = { signing: randomSecret(), webhook: randomSecret(), account: accountOf(runId) }
  for (const [name, value] of [
    [names.signing, secrets.signing],
    [names.webhook, secrets.webhook],
  ] as const)
    await control.want(`/secret-refs/${name}/value`, { method: 'PUT', body: { value, reason } })
  const step = await changeDocument(control, reason, (own) => ({
    ...own,
    policies: { ...own.policies, ...RULES },
    connectors: { ...own.connectors, ...stageConnectors(baseUrl, names.signing) },
  }))
  await control.want('/webhook-routes', {
    body: {
      provider: 'stripe',
      account: secrets.account,
      livemode: live,
      connector: CONNECTORS.callback,
      secret_refs: [names.webhook],
      emit_on_delivery: [{ event_types: ['*'], event: EMITTED }],
      reason,
    },
  })
  return { secrets, step }
}
