import { registerHooks } from 'node:module'

/**
 * Gives every importer the module `replacement` (a file URL) where it asks for the one whose path ends in `path`;
 * the replacement itself still gets the real one. Throws at the end of the process's start when nobody asked for it:
 * a planted bug that is not there would let the checker look good.
 */
export function replaceModule(path: string, replacement: string): void {
  let replaced = false
  registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      if (!found.url.endsWith(path) || context.parentURL === replacement) return found
      replaced = true
      return { ...found, url: replacement }
    },
  })
  setTimeout(() => {
    if (!replaced) throw new Error(`nobody imported ${path}: the bug is not planted`)
  }, 10_000).unref()
}
