import { run } from '../../platform/db/statement.ts'

/**
 * Counts one try, unless the last failures still hold it back: then it touches no row. A day without failures begins
 * anew.
 */
export const countTry = run<{ readonly key: string; readonly now: Date }>(
  'operators.count_try',
  `insert into operator_try as t (key, failures, last_at, next_at) values ($1, 1, $2, $2)
   on conflict (key) do update set
     failures = case when t.last_at < $2::timestamptz - interval '1 day' then 1 else t.failures + 1 end,
     last_at = $2,
     next_at = case
       when t.last_at < $2::timestamptz - interval '1 day' or t.failures + 1 < 5 then $2::timestamptz
       else $2::timestamptz + least(interval '30 seconds' * power(2, least(t.failures + 1 - 5, 10)), interval '1 hour')
     end
   where t.next_at <= $2`,
  ({ key, now }) => [key, now],
)

export const forgetTries = run<{ readonly key: string }>(
  'operators.forget_tries',
  'delete from operator_try where key = $1',
  ({ key }) => [key],
)
