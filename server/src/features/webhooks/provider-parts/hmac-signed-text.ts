/** One placeholder of the template, and the text right before and after it. */
const PLACEHOLDER = /\{(body|timestamp|id|header:[a-z0-9-]+)\}/g

/**
 * What is signed: the template with its placeholders filled in. Undefined when a value is missing or has the
 * character in it that ends or begins it in the template: then the text could be read in two ways.
 * `fill` gives the value of a placeholder other than the body.
 */
export function signedText(
  template: string,
  body: Buffer,
  fill: (placeholder: string) => string | undefined,
): readonly Buffer[] | undefined {
  const parts: Buffer[] = []
  let at = 0
  for (const { 0: whole, 1: name = '', index } of template.matchAll(PLACEHOLDER)) {
    parts.push(Buffer.from(template.slice(at, index)))
    at = index + whole.length
    if (name === 'body') {
      parts.push(body)
      continue
    }
    const value = fill(name)
    const neighbours = name === 'timestamp' ? [] : [template[index - 1], template[at]]
    if (value === undefined || neighbours.some((text) => text !== undefined && value.includes(text)))
      return undefined
    parts.push(Buffer.from(value))
  }
  return [...parts, Buffer.from(template.slice(at))]
}
