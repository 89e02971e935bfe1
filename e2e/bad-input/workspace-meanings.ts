import { REASON, type World } from './world.ts'

type Refused = readonly [name: string, method: string, path: string, body: unknown, code: string, at?: string]

const reason = REASON

const named = (name: string, slug: string, template?: string): Refused => [
  ...([name, 'POST', '/workspaces', { slug, name: 'x', reason, ...(template && { template }) }] as const),
  'validation_error',
  template ? '/body/template' : '/body/slug',
]

/** Names that a workspace cannot have, templates that are not for it, and steps that do not follow. */
export const onWorkspaces = ({ slug, suspendedId }: World): Refused[] => [
  named('production', 'first-prod'),
  named('two environments', 'first-prod-dev'),
  named('a reserved name', 'admin-dev'),
  named('a template of production', 'first-dev', 'standard-prod'),
  ['a slug that is taken', 'POST', '/workspaces', { slug, name: 'x', reason }, 'conflict'],
  ['who is suspended', 'POST', `/workspaces/${suspendedId}/suspend`, { reason }, 'conflict'],
  [
    ...(['the name of another one', 'POST', `/workspaces/${suspendedId}/delete`] as const),
    { confirm: slug, reason },
    'validation_error',
    '/body/confirm',
  ],
  ['one that nobody deletes', 'POST', `/workspaces/${suspendedId}/restore`, { reason }, 'conflict'],
]
