import { many } from '../../platform/db/statement.ts'

export const findWorkspaces = many<
  { readonly slugs: readonly string[] },
  { readonly id: string; readonly slug: string }
>('operators.workspaces_by_slug', 'select id, slug from workspace where slug = any($1)', ({ slugs }) => [
  slugs,
])
