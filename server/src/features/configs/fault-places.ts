import { Problem, type ProblemDetail } from '../../problems.ts'

/**
 * Runs a change of the config for a request. Its `config_invalid` tells where each fault stands in that request:
 * `places` maps parts of the document to where the request has them, e.g. `/connectors/api` to `/body/connector`.
 * What the request does not hold is named under `/document`, the config that would have come of it.
 */
export async function withFaultPlaces<T>(
  places: Readonly<Record<string, string>>,
  change: () => Promise<T>,
): Promise<T> {
  try {
    return await change()
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'config_invalid') throw error
    const details = (error.extra.details ?? []).map(({ path, message }) => ({
      path: placeOf(places, path),
      message,
    }))
    throw new Problem(error.code, sentenceOf(details) ?? error.message, { ...error.extra, details })
  }
}

function placeOf(places: Readonly<Record<string, string>>, path: string): string {
  for (const [part, place] of Object.entries(places))
    if (path === part || path.startsWith(`${part}/`)) return `${place}${path.slice(part.length)}`
  return `/document${path}`
}

const sentenceOf = ([first]: readonly ProblemDetail[]): string | undefined =>
  first && `${first.path} ${first.message}.`
