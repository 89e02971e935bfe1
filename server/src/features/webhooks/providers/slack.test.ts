import { describe, expect, it } from 'vitest'
import { Secret } from '../../../platform/secret.ts'
import type { SignedRequest } from '../provider.ts'
import { slack } from './slack.ts'

const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
/** Of the documentation, and of the tests of python-slack-sdk. */
const SECRET = '8f742231b10e8888abcd99yyyzzz85a5'
const TIME = '1531420618'
const COMMAND =
  'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c'
const PUBLISHED = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503'
const FORM = 'application/x-www-form-urlencoded'

const request = (raw: string, headers: Record<string, string> = {}): SignedRequest => ({
  raw: Buffer.from(raw),
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
  url: undefined,
  nowMs: Number(TIME) * 1_000 + 500,
})
const verify = (headers: Record<string, string>) =>
  slack.verify(request(COMMAND, headers), [new Secret(SECRET)], {}, tools)
const read = (raw: string, headers: Record<string, string> = {}) => {
  const asked = request(raw, headers)
  return slack.events(slack.parse(asked.raw), asked, {})
}

describe('the signature', () => {
  const headers = { 'x-slack-request-timestamp': TIME, 'x-slack-signature': PUBLISHED }

  it('fits the vector of the documentation', async () => {
    expect(await verify(headers)).toMatchObject({ verified: true })
  })

  it.each([
    ['without its time', { 'x-slack-signature': PUBLISHED }, 'signature_missing'],
    ['with another time', { ...headers, 'x-slack-request-timestamp': '1531420619' }, 'signature_mismatch'],
    ['with a time that is none', { ...headers, 'x-slack-request-timestamp': '1e9' }, 'signature_malformed'],
    [
      'with the time in another form',
      { ...headers, 'x-slack-request-timestamp': `0${TIME}` },
      'signature_mismatch',
    ],
    [
      'of another version',
      { ...headers, 'x-slack-signature': PUBLISHED.replace('v0', 'v1') },
      'signature_malformed',
    ],
  ])('is refused %s', async (_what, changed, cause) => {
    expect(await verify(changed)).toEqual({ verified: false, cause })
  })
})

describe('the event', () => {
  it('of the Events API has the id that repetitions have too', () => {
    const body = {
      type: 'event_callback',
      team_id: 'T1',
      enterprise_id: 'E1',
      api_app_id: 'A1',
      event_id: 'Ev1',
      event_time: 1_795_262_400,
      event: { type: 'message' },
    }
    expect(read(JSON.stringify(body))).toEqual([
      {
        eventId: 'Ev1',
        type: 'message',
        accounts: ['T1', 'E1', 'A1'],
        livemode: null,
        occurredAt: new Date('2026-11-21T12:00:00Z'),
      },
    ])
  })

  it('may be a slash command', () => {
    expect(read(COMMAND, { 'content-type': FORM, 'x-slack-request-timestamp': TIME })).toEqual([
      {
        eventId: '398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
        type: 'slash_command',
        accounts: ['T1DC2JH3J'],
        livemode: null,
        occurredAt: new Date(Number(TIME) * 1_000),
      },
    ])
  })

  it('may be what somebody did with a button', () => {
    const payload = {
      type: 'block_actions',
      team: { id: 'T1' },
      enterprise: null,
      api_app_id: 'A1',
      trigger_id: '1.2',
    }
    const [event] = read(`payload=${encodeURIComponent(JSON.stringify(payload))}`, {
      'content-type': `${FORM}; charset=utf-8`,
    })
    expect(event).toMatchObject({ eventId: '1.2', type: 'block_actions', accounts: ['T1', 'A1'] })
  })

  it('without an id is told by its content', () => {
    const ids = ['{"type":"app_rate_limited","m":1}', '{"type":"app_rate_limited","m":2}'].map(
      (raw) => read(raw)[0]?.eventId,
    )
    expect(ids[0]).toMatch(/^sha256-[0-9a-f]{64}$/)
    expect(ids[1]).not.toBe(ids[0])
  })
})

describe('the question whether we are there', () => {
  const answer = (body: unknown) => slack.handshake?.(body, request(''))

  it('is answered with its challenge', () => {
    const challenge = '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P'
    expect(answer({ token: 'x', challenge, type: 'url_verification' })).toEqual({
      status: 200,
      contentType: 'application/json; charset=utf-8',
      body: JSON.stringify({ challenge }),
    })
  })

  it.each([
    null,
    [],
    {},
    { challenge: 'x' },
    { type: 'event_callback', challenge: 'x', event: { type: 'url_verification' } },
  ])('is not asked by %j', (body) => {
    expect(answer(body)).toBeUndefined()
  })
})
