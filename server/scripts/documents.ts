import { bundleJsonSchema } from '../src/features/bundles/bundles.ts'
import { openApiDocuments } from '../src/processes/open-api.ts'
import { configurationDocument } from './configuration-document.ts'
import { permissionsDocument } from './permissions-document.ts'
import { problemsDocument } from './problems-document.ts'

/** Every generated file: its path from the root of the repository → its text. */
export async function generatedDocuments(): Promise<ReadonlyMap<string, string>> {
  const planes = Object.entries(await openApiDocuments())
  return new Map([
    ['docs/problems.md', problemsDocument()],
    ['docs/configuration.md', configurationDocument()],
    ['docs/permissions.md', permissionsDocument()],
    ['docs/api/bundle.schema.json', `${JSON.stringify(bundleJsonSchema(), null, 2)}\n`],
    ...planes.map(
      ([plane, document]) => [`docs/api/${plane}.json`, `${JSON.stringify(document, null, 2)}\n`] as const,
    ),
  ])
}
