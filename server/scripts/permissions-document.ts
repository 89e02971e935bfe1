import {
  EMERGENCY,
  PERMISSIONS,
  type Permission,
  PLATFORM_ROLES,
  SIGNED_ON,
  WORKSPACE_ROLES,
} from '../src/features/permissions/permissions.ts'

const EFFECTS = {
  read: 'sees',
  act: 'acts',
  guarded: 'guarded',
} as const satisfies Record<Permission['effect'], string>

const rolesTable = (roles: Readonly<Record<string, string>>): string =>
  Object.entries(roles)
    .map(([role, what]) => `| \`${role}\` | ${what} |`)
    .join('\n')

/** `docs/permissions.md`: every permission with who has it. */
export function permissionsDocument(): string {
  const columns = [...Object.keys(WORKSPACE_ROLES), ...Object.keys(PLATFORM_ROLES), EMERGENCY, SIGNED_ON]
  const rows = Object.entries<Permission>(PERMISSIONS).map(([name, { allows, effect, scopes, roles }]) => {
    const marks = columns.map((role) => ((roles as readonly string[]).includes(role) ? '✓' : ''))
    const scopesText = scopes.map((scope) => `\`${scope.replace('orchestrator.', '')}\``).join(' ')
    return `| \`${name}\` | ${allows} | ${EFFECTS[effect]} | ${scopesText} | ${marks.join(' | ')} |`
  })
  return `# Permissions

Generated from \`server/src/features/permissions/permission-table.ts\` by \`npm run generate\`; a test holds the two
equal, and another one asks every route of both planes with every role (\`server/src/processes/role-matrix.test.ts\`).

Every route names one permission. A machine's token needs one of its scopes (each begins with \`orchestrator.\`), a
person's token one of its roles. *Sees* changes nothing; *acts* does; *guarded* is about secrets, identities and people,
and is closed to whoever impersonates somebody.

## Roles of a workspace

| role | what for |
| --- | --- |
${rolesTable(WORKSPACE_ROLES)}

## Roles of the platform

By itself no platform role sees or changes what is inside of a workspace. What a \`platform_admin\` can do is let people in: invite
anybody into any workspace, and act as a member who is no Admin, which that workspace's audit log tells. Themselves they can invite
only into a workspace without an Admin who can sign on, and every invitation of a new Admin by a platform role is a \`warning\` event
\`member.invited\` in the workspace.

| role | what for |
| --- | --- |
${rolesTable(PLATFORM_ROLES)}

\`${EMERGENCY}\` is what a break-glass admin is during an emergency session, and only on that listener. \`${SIGNED_ON}\` is
an operator who has signed on and not chosen a workspace.

## Who may what

| permission | allows | | scopes | ${columns.map((role) => `\`${role}\``).join(' | ')} |
| --- | --- | --- | --- | ${columns.map(() => '---').join(' | ')} |
${rows.join('\n')}
`
}
