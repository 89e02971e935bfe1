import type { Case } from './case.ts'
import { REASON, type World } from './world.ts'

/** What a route says about its events, and who may say it when. */
export function onRoutes({ names, routeId }: World, route: Readonly<Record<string, unknown>>): Case[] {
  const window = { secret_ref: names.spare, valid_from: null, valid_until: null }
  const windows = (...all: object[]) => ({ ...route, secret_windows: all })
  const gap_check = { connector: names.connector, pull: 'manual', every_seconds: 600, settings: {} }
  const at = '/body/secret_windows/0'
  const late = { ...window, valid_from: '2027-01-01T00:00:00Z', valid_until: '2026-01-01T00:00:00Z' }
  const bad = (name: string, body: unknown, where: string): Case => [
    ...([name, 'POST', '/webhook-routes', body, 'validation_error'] as const),
    where,
  ]
  return [
    bad('a window of no own secret', windows({ ...window, secret_ref: names.secret }), `${at}/secret_ref`),
    bad('two windows', windows(window, window), '/body/secret_windows/1/secret_ref'),
    bad('a window that is over before', windows(late), `${at}/valid_until`),
    bad(
      'a leap second that was none',
      windows({ ...window, valid_from: '2015-12-31T23:59:60Z' }),
      `${at}/valid_from`,
    ),
    bad('settings of nobody', { ...route, settings: { header: 'x' } }, '/body/settings/header'),
    bad('settings of a template that has none', { ...route, provider: 'hmac' }, '/body/settings/signature'),
    bad(
      'a gap check over nothing',
      { ...route, gap_check: { ...gap_check, connector: 'nobody' } },
      '/body/gap_check/connector',
    ),
    bad(
      'a gap check over a product',
      { ...route, gap_check: { ...gap_check, connector: names.callback } },
      '/body/gap_check/connector',
    ),
    [
      'a change of what nobody says to have seen',
      'PATCH',
      `/webhook-routes/${routeId}`,
      { queue: 'low', reason: REASON },
      'precondition_required',
    ],
  ]
}
