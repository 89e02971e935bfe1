import { REASON, type World } from './world.ts'

const reason = { reason: REASON }

/** Good requests about workspaces as a whole. */
export const workspaceRequests = ({ slug, tenantId, suspendedId }: World) => ({
  createWorkspace: { body: { slug: `fresh-${slug}`, name: 'Fresh', template: 'standard-dev', ...reason } },
  listWorkspaces: { query: { limit: '10', status: 'active' } },
  listWorkspaceTemplates: {},
  getWorkspace: { params: { id: tenantId } },
  resumeWorkspace: { params: { id: suspendedId }, body: reason },
  suspendWorkspace: { params: { id: suspendedId }, body: reason },
  getWorkspaceQuotas: { params: { id: tenantId } },
  setWorkspaceQuotas: {
    params: { id: suspendedId },
    body: {
      quotas: {
        ...{ connectors: 100, webhook_routes: 100, secret_refs: 100, service_identities: 100 },
        ...{ config_versions: 10_000, members: 100, jobs_waiting: 100_000 },
      },
      ...reason,
    },
  },
  getWorkspaceRetention: { params: { id: tenantId } },
  setWorkspaceRetention: {
    params: { id: suspendedId },
    body: {
      days: {
        ...{ jobs: 20, dead_letters: 100, events: 40, request_log: 40, webhook_inbox: 40 },
        ...{ quarantine: 9, audit: 400 },
      },
      ...reason,
    },
  },
  previewRetention: {},
  deleteWorkspace: {
    params: { id: suspendedId },
    body: { confirm: slug.replace(/-dev$/, '-asleep-dev'), grace_days: 7, ...reason },
  },
  restoreWorkspace: { params: { id: suspendedId }, body: reason },
  exportWorkspace: { params: { id: tenantId }, query: reason },
})
