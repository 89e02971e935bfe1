import { globSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { ConfigSchema } from '../src/config.ts'
import { PROBLEMS } from '../src/problems.ts'
import { generatedDocuments } from './documents.ts'

const REPOSITORY = join(import.meta.dirname, '../..')
const read = (path: string): Promise<string> => readFile(join(REPOSITORY, path), 'utf8')

let documents: ReadonlyMap<string, string>

beforeAll(async () => {
  documents = await generatedDocuments()
})

describe('the generated documents', () => {
  test.each([
    'docs/problems.md',
    'docs/configuration.md',
    'docs/api/exec.json',
    'docs/api/control.json',
    'docs/api/ingress.json',
    'docs/api/bundle.schema.json',
  ])('%s is what `npm run generate` writes', async (path) => {
    expect(await read(path), 'run `npm run generate` and commit the result').toBe(documents.get(path))
  })

  test('docs/api holds nothing that is no longer generated, and nothing is missing', async () => {
    const files = (await readdir(join(REPOSITORY, 'docs/api'))).map((name) => `docs/api/${name}`)
    expect(files.sort()).toEqual([...documents.keys()].filter((path) => path.startsWith('docs/api/')).sort())
  })

  test('docs/problems.md has a section for every code and no other', async () => {
    const sections = [...(await read('docs/problems.md')).matchAll(/^## (.+)$/gm)].map(([, code]) => code)
    expect(sections).toEqual(Object.keys(PROBLEMS))
  })

  test('docs/configuration.md has a row for every variable and no other', async () => {
    const rows = [...(await read('docs/configuration.md')).matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map(
      ([, name]) => name,
    )
    expect(rows).toEqual(Object.keys(ConfigSchema.properties))
  })
})

interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly parameters?: readonly {
    readonly name: string
    readonly description?: string
    readonly in: string
  }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: BodySchema }>> }
  readonly responses: Readonly<Record<string, unknown>>
}

interface BodySchema {
  readonly description?: string
  readonly properties?: Readonly<Record<string, BodySchema>>
  readonly items?: BodySchema
  readonly anyOf?: readonly BodySchema[]
}

/** The fields of a body, at any depth, that no description explains. */
function undescribed(schema: BodySchema, at: string): string[] {
  const fields = Object.entries(schema.properties ?? {}).map(
    ([name, field]) => [`${at}/${name}`, field] as const,
  )
  const silent = fields.filter(
    ([, { description, anyOf }]) => !description && !anyOf?.some((part) => part.description),
  )
  const inside = [
    ...fields,
    ...[schema.items ?? [], schema.anyOf ?? []].flat().map((part) => [at, part] as const),
  ]
  return [...silent.map(([path]) => path), ...inside.flatMap(([path, part]) => undescribed(part, path))]
}

describe.each(['exec', 'control', 'ingress'])('the OpenAPI document of %s', (plane) => {
  const operations = (): { readonly at: string; readonly operation: Operation }[] => {
    const { openapi, paths } = JSON.parse(documents.get(`docs/api/${plane}.json`) ?? '{}') as {
      openapi: string
      paths: Record<string, Record<string, Operation>>
    }
    expect(openapi).toMatch(/^3\.1\./)
    return Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        at: `${method.toUpperCase()} ${path}`,
        operation,
      })),
    )
  }

  test('names, tags and sums up every operation, and no id twice', () => {
    const all = operations()
    expect(all.length).toBeGreaterThan(0)
    const lacking = all.filter(
      ({ operation: { operationId, summary, tags } }) => !operationId || !summary || !tags?.length,
    )
    expect(lacking.map(({ at }) => at)).toEqual([])
    const ids = all.map(({ operation }) => operation.operationId)
    expect(ids).toEqual([...new Set(ids)])
  })

  test('says how every operation fails, and what every query parameter means', () => {
    const all = operations()
    expect(all.filter(({ operation }) => !operation.responses.default).map(({ at }) => at)).toEqual([])
    const silent = all.flatMap(({ at, operation }) =>
      (operation.parameters ?? [])
        .filter((parameter) => parameter.in === 'query' && !parameter.description)
        .map(({ name }) => `${at} ?${name}`),
    )
    expect(silent).toEqual([])
  })

  test('explains every field of every body', () => {
    const silent = operations().flatMap(({ at, operation }) =>
      Object.values(operation.requestBody?.content ?? {}).flatMap(({ schema }) =>
        undescribed(schema ?? {}, at),
      ),
    )
    expect(silent).toEqual([])
  })
})

test('every promise of the README names tests that are there', async () => {
  const readme = await read('README.md')
  const named = [...readme.matchAll(/`((?:server|e2e|torture)\/[^`]+\.test\.ts)`/g)].map(
    ([, path]) => path ?? '',
  )
  expect(named.length).toBeGreaterThan(5)
  expect(named.filter((path) => globSync(path, { cwd: REPOSITORY }).length === 0)).toEqual([])
})
