import type { Check } from '../check.ts'
import type { PlaneClient } from '../plane-client.ts'
import { part } from '../stage.ts'
import { mustBe, passed } from '../verdict.ts'

export const tokens: Check = {
  name: 'tokens',
  proves: 'A token works on its own plane, and on no other.',
  mend: 'See that exec and control share KEYS_DIR and TOKEN_ISSUER, and that no proxy sends one plane to the other.',
  needs: ['exec'],
  gives: 'tokens',
  run: async (stage) => {
    await stage.signOn()
    const { control: ofControl, exec: ofExec } = part(stage, 'tokens')
    const planes: [string, PlaneClient, string, string, string][] = [
      ['control', stage.control, '/configs?limit=1', ofControl, ofExec],
      ['exec', part(stage, 'exec'), '/events?limit=1', ofExec, ofControl],
    ]
    for (const [name, plane, path, right, wrong] of planes) {
      const answers = {
        right: (await plane.call(path, { token: right })).status,
        wrong: (await plane.call(path, { token: wrong })).status,
        none: (await plane.call(path, { token: null })).status,
      }
      mustBe(answers.right === 200, `${name} answered ${answers.right} to a token of its own audience.`)
      mustBe(answers.wrong === 401, `${name} answered ${answers.wrong} to a token of the other audience.`)
      mustBe(answers.none === 401, `${name} answered ${answers.none} without a token.`)
    }
    return passed('200 with the right audience, 401 with the wrong one and without a token, on both planes')
  },
}
