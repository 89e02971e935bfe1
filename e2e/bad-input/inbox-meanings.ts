/** What fits the schemas of the webhook inbox and still means nothing. */
import type { Case } from './case.ts'
import { REASON, type World } from './world.ts'

const invalid = (path: string, name: string, body: unknown, at: string): Case => [
  name,
  'POST',
  path,
  body,
  'validation_error',
  at,
]

export function onInbox({ inboxId, inbox, identityId }: World): Case[] {
  const [retry, erase] = ['/webhook-inbox/retry/plans', '/webhook-inbox/erase/plans']
  const [ids, statuses, never] = [[inboxId], ['done'], '2015-12-31T23:59:60Z']
  const subject = (name: string, value: object): Case =>
    invalid(erase, name, { subject: value }, '/body/subject')
  return [
    [
      'an event that goes on by itself',
      'POST',
      `/webhook-inbox/${inboxId}/retry`,
      { reason: REASON },
      'conflict',
    ],
    invalid(retry, 'events and a filter of them', { ids, filter: { statuses } }, '/body'),
    invalid(retry, 'neither events nor a filter of them', {}, '/body'),
    invalid(
      retry,
      'events of no time',
      { filter: { statuses, received_before: never } },
      '/body/filter/received_before',
    ),
    ['no event', 'POST', retry, { ids: [identityId] }, 'not_found', '/body/ids/0'],
    invalid(erase, 'nothing to erase', {}, '/body'),
    invalid(erase, 'an event and a subject', { event_id: 'evt_1', subject: { contains: 'abc' } }, '/body'),
    subject('a place without a value', { pointer: '/id' }),
    subject('a value without a place', { equals: 'cus_1' }),
    subject('nobody', {}),
    [
      'a plan of another action',
      'POST',
      `${erase}/${inbox.retryPlans[0]}/abort`,
      { reason: REASON },
      'not_found',
    ],
  ]
}
