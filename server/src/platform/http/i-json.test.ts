import { expect, test } from 'vitest'
import { iJsonFaults } from './i-json.ts'

const pathsOf = (text: string): string[] =>
  iJsonFaults(text, JSON.parse(text), '/body').map(({ path }) => path)

test.each([
  ['U+0000 in a text', '{"a":["b\\u0000"]}', '/body/a/0'],
  ['U+0000 in a name', '{"a":{"b\\u0000":1}}', '/body/a'],
  ['half a surrogate pair', '{"a/b":{"c~":"\\ud83d"}}', '/body/a~1b/c~0'],
  ['the other half', '"\\ude00"', '/body'],
  ['an integer that is rounded', '{"id":9007199254740993}', '/body/id'],
  ['a negative one', '[-9007199254740992]', '/body/0'],
  ['a number without end', '{"a":[1,1e400]}', '/body/a/1'],
  ['a negative one without end', '{"a":-1E+400}', '/body/a'],
])('%s is named', (_what, text, path) => {
  expect(pathsOf(text)).toEqual([path])
})

test('every fault is named, up to 50', () => {
  expect(pathsOf('{"a":"\\u0000","b":1e999,"c":"\\ud800"}')).toEqual(['/body/a', '/body/b', '/body/c'])
  expect(pathsOf(`[${Array.from({ length: 60 }, () => '"\\u0000"').join()}]`)).toHaveLength(50)
})

test.each([
  ['a whole pair', '"\\ud83d\\ude00"'],
  ['an escaped backslash before u0000', '"\\\\u0000"'],
  ['digits in a text', '{"9007199254740993":"9007199254740993 1e400"}'],
  ['the largest safe integer', '[9007199254740991,-9007199254740991]'],
  ['a float, which is a rounded number to everybody', '[0.12345678901234567890,6.02e23,1e300,1.5e-400]'],
])('%s is kept', (_what, text) => {
  expect(pathsOf(text)).toEqual([])
})

test('a rounded number in a very long text is refused without its place', () => {
  expect(pathsOf(`[${'1,'.repeat(60_000)}9007199254740993]`)).toEqual(['/body'])
  expect(pathsOf(`[${'1,'.repeat(60_000)}"9007199254740993"]`)).toEqual([])
})
