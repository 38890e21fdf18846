// Two hospitals on one chain, in Chromium: a clinician asks the other hospital, is refused and asks the patient; the patient signs the
// grant with a passkey (a virtual authenticator) over there; the clinician reads and looks; the patient withdraws; the clinician is
// refused. Each page by axe (WCAG 2.1 AA) in light and dark, and on a phone; screenshots are left in a directory.
//
//   node exchange.mjs MEDSEAL SHOTS     the program, and where the screenshots go; MEDSEAL_TOOLS has anvil

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { looks, step } from './looks.mjs'

const require = createRequire(join(process.env.MEDSEAL_BROWSER_TOOLS, 'package.json'))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const [program, shots] = process.argv.slice(2)
mkdirSync(shots, { recursive: true })
const installed = join(process.env.MEDSEAL_TOOLS ?? '/tmp/medseal-tools', 'node_modules/.bin/anvil')
const anvil = existsSync(installed) ? installed : 'anvil'

// Anvil's well-known accounts: the steward; then anchor, participant and registrar of each hospital.
const STEWARD = 'ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const HOSPITALS = [
  { name: 'Northquay', id: '0x15d34aaf54267db7d7c367839aaf71a00a2c6a65', keys: [
    '59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d',
    '47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a',
    '92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e'] },
  { name: 'Southfield', id: '0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc', keys: [
    '5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a',
    '8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba',
    '4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356'] },
]

const home = mkdtempSync(join(tmpdir(), 'medseal-exchange-'))
const started = []
const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})
const key = (folder, name, digits) => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), digits, { mode: 0o600 })
}
const medseal = (...words) => execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()

/** Starts a program, and ends it with this one. */
function start(command, words) {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  started.push(child)
  return child
}

async function until(says, holds) {
  for (let n = 0; n < 300; n += 1) {
    const found = await holds()
    if (found) return found
    await new Promise((later) => setTimeout(later, 100))
  }
  assert.fail(says)
}

async function chain() {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  start(anvil, ['--silent', '--max-persisted-states', '0', '--port', `${port}`])
  const asked = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}' }
  await until('the chain answers', () => fetch(url, asked).then((answer) => answer.ok, () => false))
  return url
}

/** The contracts of a data directory, as they are printed for its configuration. */
const deployed = (data, rpc) => medseal('contracts', 'deploy', '--data', data, '--rpc', rpc).replace('"finalized"', '"latest"')

async function hospital({ name, id, keys }, rpc, directory) {
  const data = join(home, name)
  for (const [n, file] of ['anchor.key', 'participant.key', 'registrar.key'].entries()) key(data, file, keys[n])
  const [port, config] = [await freePort(), join(home, `${name}.toml`)]
  writeFileSync(config, `data = ${JSON.stringify(data)}
http = "127.0.0.1:${port}"
mllp = "127.0.0.1:0"
custodian = "urn:${name}"
outgoing = { allow_private = true, allow_http = true }
log = { origin = "${name}.example/log", checkpoint_ms = 100, anchor_ms = 200 }
${deployed(data, rpc)}
poll_ms = 200
[exchange]
id = "${id}"
name = "Hospital ${name}"
place = "${name}"
services = ["Cardiology"]
[exchange.directory]
${directory}
`)
  const service = start(program, ['serve', '--config', config])
  let log = ''
  service.stderr.on('data', (text) => { log += text })
  await new Promise((resolve, reject) => {
    service.stdout.on('data', (text) => /ready http=/.test(text) && resolve())
    service.on('exit', () => reject(new Error(log)))
  })
  const token = medseal('token', '--scope', 'system/*.cruds', '--config', config)
  medseal('participants', 'apply', '--config', config)
  medseal('participants', 'admit', id, '--key', join(home, 'steward', 'anchor.key'), '--config', config)
  const api = async (method, path, body) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/fhir+json' }
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers, body: body && JSON.stringify(body) })
    return { status: answer.status, text: await answer.text() }
  }
  const put = async (resource) => {
    const { status, text } = await api('PUT', `/fhir/${resource.resourceType}/${resource.id}`, resource)
    assert.equal(status, 201, text)
  }
  const invitation = (...who) => {
    const link = new URL(medseal('user', 'invite', '--config', config, ...who))
    return `${site}${link.pathname}${link.search}`
  }
  const site = `http://localhost:${port}`
  return { id, site, api, put, invitation }
}

const patient = (id) => ({ resourceType: 'Patient', id, birthDate: '1980-02-29', gender: 'female', name: [{ given: ['Ada'], family: 'Novak <script>alert(1)</script>' }],
  identifier: [{ system: 'urn:id', value: '4711' }] })
const RECORD = [
  ...[5.1, 5.8, 6.4, 5.5].map((value, n) => ({ resourceType: 'Observation', id: `g${n}`, status: 'final', effectiveDateTime: `2026-0${n + 1}-02T08:15:00Z`,
    code: { coding: [{ system: 'http://loinc.org', code: '2339-0' }], text: 'Glucose in blood' }, valueQuantity: { value, unit: 'mmol/L' } })),
  { resourceType: 'Encounter', id: 'visit', status: 'finished', class: { code: 'AMB', display: 'ambulatory' }, period: { start: '2026-03-02' } },
  { resourceType: 'MedicationRequest', id: 'pill', status: 'active', intent: 'order', authoredOn: '2026-03-02', medicationCodeableConcept: { text: 'Ramipril 5 mg' } },
].map((resource) => ({ ...resource, subject: { reference: 'Patient/lovelace' } }))

const violations = []
async function person(browser, options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options })).newPage()
  page.on('pageerror', (error) => violations.push(error.message))
  page.on('console', (line) => line.type() === 'error' && !/status of 4\d\d/.test(line.text()) && violations.push(line.text()))
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  })
  return page
}

const accessible = looks(axe, shots, 'exchange')
const press = (page, name) => page.getByRole('button', { name }).first().click()
const says = (page) => page.textContent('main')
async function join_(page, { site, invitation }, ...who) {
  await page.goto(invitation(...who))
  await press(page, 'Make a passkey')
  await page.waitForURL(`${site}/me`)
}
/** Reloads until a page says it. */
const shows = (page, words) => until(`${words} is shown`, async () => (await page.reload(), (await says(page)).includes(words)))

let browser
try {
  const rpc = await chain()
  key(join(home, 'steward'), 'anchor.key', STEWARD)
  const [, contract, block, code] = /# Participants stands at (\S+) since block (\d+), with code (\S+)/.exec(deployed(join(home, 'steward'), rpc))
  const directory = `contract = "${contract}"\ncode_hash = "${code}"\nfrom_block = ${block}`
  const a = await hospital(HOSPITALS[0], rpc, directory)
  const b = await hospital(HOSPITALS[1], rpc, directory)
  for (const resource of [patient('ada'), { resourceType: 'Practitioner', id: 'doc', name: [{ given: ['Ida'], family: 'Weiss' }] },
    { resourceType: 'Organization', id: 'clinic', name: 'Quay Clinic' }]) await a.put(resource)
  for (const resource of [patient('lovelace'), ...RECORD]) await b.put(resource)
  await until('the record is anchored', async () => (await b.api('GET', '/fhir/MedicationRequest/pill/$receipt')).text.includes('"anchor"'))

  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
  const [doctor, ada] = [await person(browser), await person(browser)]
  await join_(doctor, a, '--role', 'clinician', '--for', 'Practitioner/doc', '--organisation', 'Organization/clinic')
  await join_(ada, b, '--role', 'patient', '--for', 'Patient/lovelace')

  /** Fills in the question, and sends it. */
  const ask = async () => {
    await doctor.goto(`${a.site}/me/hospitals?patient=ada`)
    await doctor.getByLabel('Ask Hospital Southfield').check()
    await press(doctor, 'Ask')
  }
  await step('a clinician finds the other hospital, asks, and is refused', async () => {
    await doctor.goto(`${a.site}/me/patients/ada`)
    await doctor.getByRole('link', { name: 'Ask other hospitals' }).click()
    await doctor.getByLabel('Place').fill('south')
    await press(doctor, 'Search')
    await accessible(doctor, 'hospitals')
    assert.match(await says(doctor), /Novak <script>/)
    await ask()
    await doctor.getByText('Refused.').waitFor()
    await accessible(doctor, 'refused')
  })
  await step('the clinician asks the patient', async () => {
    await press(doctor, 'Ask the patient')
    await doctor.getByText('The patient is asked.').waitFor()
    await accessible(doctor, 'asked')
  })
  await step('the patient sees who asks for what, and signs with the passkey', async () => {
    await ada.goto(`${b.site}/me/shares`)
    assert.match(await says(ada), /Hospital Northquay/)
    await accessible(ada, 'shares-asked')
    await ada.getByRole('link', { name: 'Allow' }).click()
    await accessible(ada, 'grant-form')
    await press(ada, 'Read it once more')
    await ada.locator('#grant').waitFor()
    assert.match(await says(ada), /Hospital Northquay.*my treatment/s)
    await press(ada, 'Sign with my passkey')
    await ada.locator('#code').waitFor()
    await ada.goto(`${b.site}/me/shares`)
    assert.match(await says(ada), /Nobody asks\./)
    await ada.goto(`${b.site}/me/access`)
    await shows(ada, 'It stands on the chain, and counts.')
  })
  await step('the clinician reads: each entry intact, from where, and what it rests on', async () => {
    await until('the answer comes', async () => (await ask(), (await says(doctor)).includes('Ramipril 5 mg')))
    assert.match(await says(doctor), /Intact/)
    assert.match(await says(doctor), /Nothing of it is stored here\./)
    await doctor.locator('summary').filter({ hasText: 'Ramipril' }).click()
    await accessible(doctor, 'answer')
    assert.equal(JSON.parse((await a.api('GET', '/fhir/MedicationRequest?patient=Patient/ada')).text).total, 0)
  })
  await step('the clinician looks, with a watermark, at charts and at one entry', async () => {
    await doctor.goto(`${a.site}/me/hospitals?patient=ada`)
    await press(doctor, 'Look at Hospital Southfield')
    await doctor.waitForURL(`${a.site}/me/hospitals/look/*`)
    assert.match(await doctor.getAttribute('.watermark', 'data-mark'), /^Practitioner\/doc 20/)
    assert.ok(await doctor.locator('.charts svg').count() > 0)
    await accessible(doctor, 'look')
    const at = doctor.url()
    await doctor.getByRole('link', { name: 'Glucose in blood' }).first().click()
    await accessible(doctor, 'look-entry')
    await doctor.goto(`${at}/Observation`)
    assert.equal(await doctor.getByRole('link', { name: 'Glucose in blood' }).count(), 4)
    assert.doesNotMatch(await says(doctor), /Ramipril/)
    await accessible(doctor, 'look-kind')
    await doctor.goto(at)
  })
  await step('the patient sees who read, and takes it back: the look ends, and the clinician is refused', async () => {
    await ada.goto(`${b.site}/me/shares`)
    await shows(ada, 'Another hospital: Hospital Northquay')
    await accessible(ada, 'shares-read')
    await ada.goto(`${b.site}/me/access`)
    await press(ada, 'Withdraw')
    await ada.waitForURL(`${b.site}/me/access`)
    await ada.getByText('Who had access').waitFor()
    await doctor.reload()
    await doctor.getByText('Not shown.').waitFor()
    assert.doesNotMatch(await says(doctor), /Ramipril/)
    await accessible(doctor, 'look-withdrawn')
    await press(doctor, 'End the look')
    await doctor.waitForURL(`${a.site}/me/hospitals`)
    await ask()
    await doctor.getByText('Refused.').waitFor()
    assert.doesNotMatch(await says(doctor), /Ramipril/)
  })
  await step('an administrator sees the network, and a delivery that was refused', async () => {
    const { status, text } = await a.api('POST', '/exchange/push', { to: b.id, patient: 'Patient/ada', resources: ['Patient/ada'] })
    assert.equal(status, 202, text)
    const chief = await person(browser)
    await join_(chief, a, '--role', 'administrator')
    await chief.goto(`${a.site}/me/network`)
    await shows(chief, 'refused')
    await accessible(chief, 'network')
    assert.doesNotMatch(await says(chief), /Novak/)
    await press(chief, 'Try now')
    await chief.waitForURL(`${a.site}/me/network`)
  })
  await step('on a phone nothing is wider than the screen', async () => {
    const options = { viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
    for (const [at, who, path] of [
      [a, ['--role', 'clinician', '--for', 'Practitioner/doc', '--organisation', 'Organization/clinic'], '/me/hospitals'],
      [b, ['--role', 'patient', '--for', 'Patient/lovelace'], '/me/shares'],
      [a, ['--role', 'administrator'], '/me/network'],
    ]) {
      const phone = await person(browser, options)
      await join_(phone, at, ...who)
      await phone.goto(`${at.site}${path}`)
      await accessible(phone, `phone${path.replaceAll('/', '-')}`)
      assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth), 375, path)
    }
  })
  assert.deepEqual(violations, [])
} finally {
  await browser?.close()
  for (const child of started.reverse()) {
    const ended = new Promise((exit) => { child.removeAllListeners('exit').on('exit', exit) })
    if (child.exitCode === null && child.kill()) await ended
  }
  rmSync(home, { recursive: true, force: true })
}
