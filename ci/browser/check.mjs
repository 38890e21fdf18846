// What an auditor does on /verify and /ledger, in Chromium: green, red and why, nothing uploaded, no violation of the
// Content-Security-Policy, nothing that axe finds against WCAG 2.1 AA. Leaves screenshots in a directory.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { serveNode, servePages } from './serve.mjs'

const require = createRequire(join(process.env.MEDSEAL_BROWSER_TOOLS, 'package.json'))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const [givenBase, shots] = process.argv.slice(2)
mkdirSync(shots, { recursive: true })

const fixture = (name) => readFileSync(new URL(`../../notary/web/test/fixtures/${name}`, import.meta.url))
const receipt = fixture('patient.receipt.json')
const resource = fixture('patient.json')
const file = (name, buffer) => ({ name, mimeType: 'application/json', buffer })

const hash = (digit) => digit.repeat(64)
const ANCHORS = [[25544, 'a1', 11, 66121], [25001, 'b2', 10, 67946], [12040, 'c3', 9, 68602]].map(([size, two, block, gas], i) => (
  { size, root: hash(two).slice(0, 64), block, time: `2026-03-02T08:${20 - i}:00Z`, gas }))
const RECORDS = [
  { index: 158, reference: 'Patient/2a3327c2-9798-41e0-bdfc-36d3de05c25c', versionId: '4', state: 'intact' },
  { index: 159, reference: 'Observation/42983f27-124f-449f-b97b-cce8cfee312e', versionId: '1', state: 'tampered', why: 'the stored bytes do not open: they were changed' },
  { index: 160, reference: 'Patient/c3877aac-29b9-44a8-bc3b-52616452e73b', versionId: '1', state: 'erased' },
  { index: null, reference: 'Encounter/8fcf23f6-e78a-463e-bdfc-6bb5e2935d00', versionId: '2', state: 'waiting' },
]
const ANSWERS = {
  '/log/status.json': { origin: 'medseal.local/log', size: 25551, checkpoint: { size: 25544, root: hash('a') }, anchors: ANCHORS, lag: 7,
    lastError: null, kind: 'embedded', chainId: 1835361395, contract: '0x68014d11cb02ebfa3db06ffd06a3328154df3672' },
  '/log/records.json': { records: RECORDS, next: null },
}

const pages = givenBase ? { url: givenBase.replace(/\/$/, ''), close: () => {} } : await servePages(ANSWERS)
const node = await serveNode(receipt)
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
const violations = []

/** A page in a context of its own, watched for violations, errors and anything but reading. */
async function open(path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options })
  const page = await context.newPage()
  page.sent = []
  page.on('request', (request) => request.method() !== 'GET' && page.sent.push(request.url()))
  page.on('pageerror', (error) => violations.push(`${path}: ${error.message}`))
  page.on('console', (line) => line.type() === 'error' && violations.push(`${path}: ${line.text()}`))
  await page.goto(`${pages.url}${path}`)
  return page
}

const give = (page, name, buffer) => page.setInputFiles(`#${name}-file`, file(`${name}.json`, buffer))
const shoot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`), fullPage: true })

async function verdict(page, word) {
  await page.waitForFunction((expected) => document.querySelector('#verdict:not([hidden]) .word')?.textContent.startsWith(expected), word)
  return { name: await page.textContent('#verdict .name'), tone: await page.getAttribute('#verdict', 'class') }
}

async function accessible(page, what) {
  await page.evaluate(axe)
  const found = await page.evaluate(() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }))
  assert.deepEqual(found.violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes[0].html}`), [])
}

async function step(says, run) {
  await run()
  console.log(`ok: ${says}`)
}

async function intact(options, name) {
  const page = await open('/verify', options)
  await shoot(page, `${name}-empty`)
  await give(page, 'receipt', receipt)
  await give(page, 'resource', resource)
  assert.deepEqual(await verdict(page, 'Holds'), { name: 'ANCHORED-LOCAL', tone: 'verdict good' })
  await page.locator('main > section').getByText('The resource is the one that was sealed, unchanged.').waitFor()
  assert.match(await page.textContent('#verdict .stamp'), /No independent trust/)
  assert.deepEqual(page.sent, [])
  await accessible(page, name)
  await shoot(page, `${name}-green`)
  return page
}

async function refused(name, changedReceipt, changedResource, expected) {
  const page = await open('/verify')
  await give(page, 'receipt', changedReceipt)
  if (changedResource) await give(page, 'resource', changedResource)
  assert.deepEqual(await verdict(page, 'Refused'), { name: expected, tone: 'verdict bad' })
  await accessible(page, name)
  await shoot(page, name)
}

const flipped = (buffer, at) => {
  const copy = Buffer.from(buffer)
  copy[at] ^= 1
  return copy
}
const replaced = (buffer, from, to) => Buffer.from(buffer.toString().replace(from, to))

await step('an intact receipt with its resource is green, light', () => intact({}, 'light'))
await step('the same in dark', () => intact({ colorScheme: 'dark' }, 'dark'))
await step('the same on a phone', () => intact({ viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }, 'phone'))
await step('a resource with one byte flipped is red: RESOURCE-CHANGED', () =>
  refused('red-resource', receipt, flipped(resource, resource.indexOf('1982') + 3), 'RESOURCE-CHANGED'))
await step('a receipt with one character changed is red', () =>
  refused('red-receipt', replaced(receipt, '"versionId": "1"', '"versionId": "2"'), null, 'OPENING-FORGED'))
await step('a file that is no receipt is red', () => refused('red-malformed', Buffer.from('no receipt'), null, 'MALFORMED'))

await step('by keyboard alone: paste, Enter, and the verdict is told', async () => {
  const page = await open('/verify')
  await page.locator('#receipt-title ~ details summary').focus()
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  await page.keyboard.insertText(receipt.toString())
  assert.equal((await verdict(page, 'Holds')).name, 'ANCHORED-LOCAL')
  assert.match(await page.textContent('#told'), /^Holds ANCHORED-LOCAL\. /)
  assert.equal(await page.getAttribute('#told', 'aria-live'), 'polite')
})

await step('a file may be dropped, and all be cleared', async () => {
  const page = await open('/verify')
  await page.evaluate((text) => {
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File([text], 'dropped.json'))
    document.querySelector('[data-name=receipt]').dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))
  }, receipt.toString())
  await verdict(page, 'Holds')
  assert.match(await page.textContent('#receipt-state'), /^dropped\.json, [\d,]+ bytes$/)
  await page.click('button[type=reset]')
  await page.locator('#verdict').waitFor({ state: 'hidden' })
  assert.equal(await page.locator('#chain').isVisible(), false)
})

await step('a log key that is not the receipt’s is red, and so is a policy that cannot be read', async () => {
  const page = await open('/verify')
  await give(page, 'receipt', receipt)
  await verdict(page, 'Holds')
  await page.click('.trust summary')
  await page.fill('#keys', 'other.example/log+00000000+AAAA')
  await page.click('button[type=submit] >> nth=0')
  assert.equal((await verdict(page, 'Refused')).name, 'UNTRUSTED-LOG')
  await page.fill('#policy', '{"log_key": []}')
  await page.click('button[type=submit] >> nth=0')
  await page.locator('main > section').getByText('What I trust cannot be read: unknown member log_key').waitFor()
  await accessible(page, 'trust')
})

await step('a node that holds the root agrees, and one that cannot be reached proves nothing', async () => {
  const page = await open('/verify')
  await give(page, 'receipt', node.anchored)
  // Nobody pinned the block: the chain that the receipt names lifts nothing.
  assert.equal((await verdict(page, 'Holds')).name, 'LOGGED')
  await page.fill('#node', node.url)
  await page.click('#chain-form button')
  // Anybody may put a contract onto a chain: without a policy that lists it nothing is green.
  await page.locator('#chain-verdict.warn').getByText('nobody vouches for this contract').waitFor()
  assert.equal(await page.locator('#chain-verdict.good').count(), 0)
  await accessible(page, 'chain-unlisted')
  await page.click('.trust summary')
  const [chain_id, address] = [7, await page.inputValue('#contract')]
  await page.fill('#policy', JSON.stringify({ contracts: [{ chain_id, address, kind: 'consortium' }] }))
  await page.click('button[type=submit] >> nth=0')
  await verdict(page, 'Holds')
  await page.fill('#node', node.url)
  await page.click('#chain-form button')
  await page.locator('#chain-verdict.good').getByText('The chain agrees').waitFor()
  await page.locator('main > section').getByText('the receipt’s own block 16 is in the node’s chain').waitFor()
  await accessible(page, 'chain')
  await shoot(page, 'chain-agrees')
  assert.ok(page.sent.length > 0 && page.sent.every((url) => url.startsWith(node.url)))
  await page.fill('#contract', `0x${'11'.repeat(20)}`)
  await page.click('#chain-form button')
  await page.locator('#chain-verdict.bad').waitFor()
  assert.equal(await page.textContent('#chain-verdict .name'), 'ANCHOR-FORGED')
  await shoot(page, 'chain-disagrees')
  const expected = violations.length
  await page.fill('#node', 'http://127.0.0.1:1')
  await page.click('#chain-form button')
  await page.locator('main > section').getByText('The node gave no answer that can be checked').waitFor()
  // The browser says by itself that the connection was refused.
  assert.match(violations.splice(expected).join(), /^.*ERR_(CONNECTION_REFUSED|UNSAFE_PORT).*$/)
})

await step('the ledger shows anchors', async () => {
  const page = await open('/ledger')
  await page.locator('#tiles div').first().waitFor()
  await accessible(page, 'ledger')
  await shoot(page, 'ledger')
})

if (!givenBase) {
  for (const [name, options] of [['light', {}], ['dark', { colorScheme: 'dark' }], ['phone', { viewport: { width: 375, height: 740 }, isMobile: true }]]) {
    await step(`the ledger marks tampered records by word and icon, ${name}`, async () => {
      const page = await open('/ledger', options)
      await page.fill('#token', 'a token')
      await page.keyboard.press('Enter')
      await page.locator('#records tr').first().waitFor()
      assert.deepEqual(await page.locator('#records .mark').allTextContents(), ['Intact', 'Tampered', 'Erased', 'Waiting'])
      assert.equal(await page.locator('#records .mark svg').count(), 4)
      assert.equal(await page.textContent('#summary'), '1 intact, 1 tampered, 1 erased, 1 waiting.')
      await accessible(page, 'records')
      await shoot(page, `ledger-${name}`)
    })
  }
}

await step('no violation of the Content-Security-Policy, no error', async () => assert.deepEqual(violations, []))
await browser.close()
pages.close()
node.close()
console.log(`screenshots in ${shots}`)
