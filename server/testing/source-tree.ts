import { posix } from 'node:path'
import { parseAst } from 'vitest/node'

/** Repository-relative path (with `/`) → source text. */
export type Sources = ReadonlyMap<string, string>

/** What the architecture rules need to know of one file. */
export interface SourceFile {
  readonly path: string
  readonly lines: number
  /** Repository-relative targets of relative imports, type imports, re-exports and dynamic imports included. */
  readonly imports: readonly string[]
  /** Dynamic imports whose target is computed: no rule could follow them. */
  readonly computedImports: number
  readonly readsEnvironment: boolean
}

type SyntaxNode = Readonly<Record<string, unknown>> & { readonly type: string }

const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && typeof (value as SyntaxNode).type === 'string'

/** Parses every file with the parser of the test runner (TypeScript 7 has no compiler API to ask). */
export const readTree = (sources: Sources): readonly SourceFile[] =>
  [...sources].map(([path, source]) => readSource(path, source))

function readSource(path: string, source: string): SourceFile {
  const program: unknown = parseAst(source, { lang: 'ts' }, path)
  const nodes = [...walk(program)]
  const targets = nodes.flatMap((node) => (isNode(node.source) ? [node.source] : []))
  const imports = targets.map(literalOf).filter((target) => target?.startsWith('.'))
  return {
    path,
    lines: source.replace(/\n$/, '').split('\n').length,
    imports: [...new Set(imports.map((target) => posix.join(posix.dirname(path), target ?? '')))],
    computedImports: targets.filter((target) => literalOf(target) === undefined).length,
    readsEnvironment: readsEnvironment(nodes),
  }
}

function* walk(value: unknown): Generator<SyntaxNode> {
  if (Array.isArray(value)) for (const item of value) yield* walk(item)
  else if (isNode(value)) {
    yield value
    for (const child of Object.values(value)) if (typeof child === 'object') yield* walk(child)
  }
}

const nameOf = (node: unknown): string | undefined =>
  isNode(node) && node.type === 'Identifier' ? String(node.name) : literalOf(node)

const literalOf = (node: unknown): string | undefined =>
  isNode(node) && node.type === 'Literal' && typeof node.value === 'string' ? node.value : undefined

/** `process.env` in any spelling: member, destructured, imported by name, or through a renamed `process`. */
function readsEnvironment(nodes: readonly SyntaxNode[]): boolean {
  const aliases = new Set(['process'])
  for (const node of nodes) {
    if (node.type !== 'ImportDeclaration' || !/^(node:)?process$/.test(literalOf(node.source) ?? '')) continue
    for (const specifier of walk(node.specifiers)) {
      if (specifier.type === 'ImportSpecifier' && nameOf(specifier.imported) === 'env') return true
      const local = nameOf(specifier.local)
      if (local !== undefined && specifier.type !== 'ImportSpecifier') aliases.add(local)
    }
  }
  const isProcess = (node: unknown): boolean =>
    isNode(node) &&
    (node.type === 'MemberExpression' ? nameOf(node.property) === 'process' : aliases.has(nameOf(node) ?? ''))
  return nodes.some(
    (node) =>
      (node.type === 'MemberExpression' && nameOf(node.property) === 'env' && isProcess(node.object)) ||
      (node.type === 'VariableDeclarator' &&
        isProcess(node.init) &&
        isNode(node.id) &&
        [...walk(node.id.properties)].some(
          (property) => property.type === 'Property' && nameOf(property.key) === 'env',
        )),
  )
}
