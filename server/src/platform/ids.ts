import { v7, validate, version } from 'uuid'

/** A new UUIDv7 (RFC 9562 §5.7): its first 48 bits are the time in ms, so ids sort by creation and name their daily partition. */
export const newId = (): string => v7()

/** The smallest UUIDv7 of a point in time: the bound of a daily partition. */
export function firstIdAt(epochMs: number): string {
  const hex = Math.floor(epochMs).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7000-8000-000000000000`
}

/** The creation time in ms that a UUIDv7 carries; undefined for anything else. */
export function timeOfId(id: string): number | undefined {
  if (!validate(id) || version(id) !== 7) return undefined
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}
