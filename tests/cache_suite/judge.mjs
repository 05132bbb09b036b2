// Compares the results of the suite with what is expected of it: judge.mjs TESTS RESULTS EXPECTED RUN.
import fs from 'node:fs'

const [testsPath, resultsPath, expectedPath, run] = process.argv.slice(2)
const suites = (await import(testsPath)).default
const results = JSON.parse(fs.readFileSync(resultsPath))
const expected = new Set()
for (const line of fs.readFileSync(expectedPath, 'utf8').split('\n')) {
  const [id, where] = line.split(/\s+/)
  if (id && !id.startsWith('#') && (!where || where === run)) expected.add(id)
}
const counts = {}
let good = true
for (const test of suites.flatMap(suite => suite.tests)) {
  if (test.browser_only) continue
  const kind = test.kind || 'required'
  const count = counts[kind] ||= { passed: 0, of: 0 }
  const passed = results[test.id] === true
  count.of += 1
  count.passed += passed
  if (passed === expected.has(test.id)) {
    good = false
    console.log(`${run}: ${test.id} (${kind}) ${passed ? 'is passed now' : JSON.stringify(results[test.id])}`)
  }
}
console.log(run, JSON.stringify(counts))
process.exit(good ? 0 : 1)
