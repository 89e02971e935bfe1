import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { RunParams, RunView, VerifyBody, VerifyParams } from './onboarding.schema.ts'
import type { Run, Verifications } from './onboarding.ts'

const view = (run: Run): RunView => ({
  id: run.id,
  state: run.state,
  started_by: run.startedBy,
  reason: run.reason,
  started_at: run.startedAt.toISOString(),
  ended_at: run.endedAt?.toISOString() ?? null,
  lines: [...run.lines],
})

const absent = (): Problem => new Problem('not_found', 'There is no such workspace.')

export interface OnboardingControlDeps {
  readonly verifications: Verifications
  readonly directory: WorkspaceDirectory
  readonly environment: 'dev' | 'prod'
  /** `VERIFY_TARGET_URL`. */
  readonly targetUrl: string | undefined
}

/** `/workspaces/:id/verify`: the onboarding checklist, for the workspace of the token. */
export function onboardingControl(app: HttpServer, deps: OnboardingControlDeps): void {
  const config = { access: { permission: 'workspaces.verify' } }
  const tags = ['onboarding']

  app.post(
    '/workspaces/:id/verify',
    {
      config,
      schema: {
        operationId: 'verifyWorkspace',
        tags,
        summary: 'Start the onboarding checklist on the live workspace; its lines are read from the run',
        params: VerifyParams,
        body: VerifyBody,
        response: { 202: RunView },
      },
    },
    async ({ params, body, principal, call }, reply) => {
      const tenantId = params.id.toLowerCase()
      const workspace = tenantId === principal.tenantId ? await deps.directory.find(tenantId) : undefined
      if (!workspace) throw absent()
      const run = await deps.verifications.start({
        subject: { tenantId, slug: workspace.slug, environment: deps.environment },
        targetUrl: body.target_url ?? deps.targetUrl,
        change: { ...authorOf(principal), reason: body.reason, call },
      })
      return reply.code(202).header('location', `/workspaces/${tenantId}/verify/${run.id}`).send(view(run))
    },
  )

  app.get(
    '/workspaces/:id/verify/:run',
    {
      config,
      schema: {
        operationId: 'getVerification',
        tags,
        summary: 'A run of the onboarding checklist, with the lines that are done',
        params: RunParams,
        response: { 200: RunView },
      },
    },
    async ({ params, principal }) => {
      if (params.id.toLowerCase() !== principal.tenantId) throw absent()
      return view(await deps.verifications.find({ tenantId: principal.tenantId, id: params.run }))
    },
  )
}
