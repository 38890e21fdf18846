// A patient lets an app in, in Chromium against the real service: the app is `fhirclient` (npm) as it is, in a page of another origin.
// Launch, sign in by passkey (a virtual authenticator), approve, read, refresh, be ended; refuse. Then a clinician opens it from a patient's
// visit. The pages are looked at by axe.
//
//   node app.mjs MEDSEAL SHOTS     the program, and where the screenshots go

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const tools = process.env.MEDSEAL_BROWSER_TOOLS
const require = createRequire(join(tools, 'package.json'))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const library = readFileSync(join(tools, 'node_modules/fhirclient/build/fhir-client.min.js'))
const [program, shots] = process.argv.slice(2)
mkdirSync(shots, { recursive: true })

// The app: one script, and a page that says what became of it.
const shown = `<!doctype html><title>An app</title><script src="/fhir-client.js"></script><script>
  if (location.pathname === '/open')
    FHIR.oauth2.authorize({ clientId: OPENED, scope: 'launch launch/encounter openid patient/*.rs', redirectUri: '/', pkceMode: 'required' })
  else if (location.search.includes('code=') || location.search.includes('error='))
    FHIR.oauth2.ready().then((client) => { window.client = client }, (error) => { window.failed = String(error) })
</script>`
const app = createServer((request, response) => {
  const script = request.url === '/fhir-client.js'
  response.writeHead(200, { 'content-type': script ? 'text/javascript' : 'text/html; charset=utf-8' })
  response.end(script ? library : shown.replace('OPENED', JSON.stringify(opened)))
})
await new Promise((listening) => { app.listen(0, 'localhost', listening) })
const home = `http://localhost:${app.address().port}/`

const data = mkdtempSync(join(tmpdir(), 'medseal-app-'))
const config = join(data, 'medseal.toml')
writeFileSync(config, `data = ${JSON.stringify(join(data, 'd'))}\nhttp = "127.0.0.1:0"\nmllp = "127.0.0.1:0"\ncors = [${JSON.stringify(home.slice(0, -1))}]\n[consent]\napps = "approved"\n`)
const service = spawn(program, ['serve', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] })
let log = ''
service.stderr.on('data', (text) => { log += text })
const port = await new Promise((resolve, reject) => {
  service.stdout.on('data', (text) => resolve(/http=\S+:(\d+)/.exec(text)[1]))
  service.on('exit', () => reject(new Error(log)))
})
const [site, iss] = [`http://localhost:${port}`, `http://127.0.0.1:${port}/fhir`]
const medseal = (...words) =>
  execFileSync(program, [...words, '--config', config], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
const scope = 'openid fhirUser launch/patient patient/*.rs offline_access'
const clientId = medseal('client', 'add', '--app', '--public', '--name', 'Heart', '--redirect', home, '--scope', scope)
const opened = medseal('client', 'add', '--app', '--public', '--name', 'Growth', '--redirect', home, '--launch', `${home}open`,
  '--scope', 'launch launch/encounter openid patient/*.rs')
const bearer = { authorization: `Bearer ${medseal('token', '--scope', 'system/*.cruds')}`, 'content-type': 'application/fhir+json' }
const put = async (resource) => {
  const at = `${iss}/${resource.resourceType}/${resource.id}`
  const { status } = await fetch(at, { method: 'PUT', headers: bearer, body: JSON.stringify(resource) })
  assert.equal(status, 201)
}
for (const id of ['ada', 'bob']) await put({ resourceType: 'Patient', id, name: [{ family: 'Seaworthy', given: [id] }] })
await put({ resourceType: 'Practitioner', id: 'dan' })
await put({ resourceType: 'Organization', id: 'org', name: 'Org' })
const ambulant = { system: 'http://terminology.hl7.org/CodeSystem/v3-ActCode', code: 'AMB' }
await put({ resourceType: 'Encounter', id: 'visit', status: 'finished', class: ambulant, subject: { reference: 'Patient/bob' } })

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
const page = await (await browser.newContext({ viewport: { width: 1100, height: 900 } })).newPage()
const devtools = await page.context().newCDPSession(page)
await devtools.send('WebAuthn.enable')
await devtools.send('WebAuthn.addVirtualAuthenticator', {
  options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
})

async function step(says, run) {
  await run()
  console.log(`ok: ${says}`)
}

const press = (name) => page.getByRole('button', { name, exact: true }).first().click()

async function launch() {
  await page.goto(home)
  const asks = { clientId, scope, iss, redirectUri: home, pkceMode: 'required' }
  await page.evaluate((asks) => { FHIR.oauth2.authorize(asks) }, asks)
  await page.waitForURL(`${site}/auth/**`)
}

async function accessible(what) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    await page.evaluate(axe)
    const found = await page.evaluate(() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }))
    assert.deepEqual(found.violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes[0].html}`), [])
    await page.screenshot({ path: join(shots, `app-${what}-${colorScheme}.png`), fullPage: true })
  }
  await page.emulateMedia({ colorScheme: 'light' })
}

const status = (path) => page.evaluate((path) => client.request(path).then(() => 200, (error) => error.status), path)
/** What the app's token alone is answered: fhirclient would ask for another one. */
const byToken = () => page.evaluate(async (address) => {
  const headers = { authorization: `Bearer ${client.state.tokenResponse.access_token}` }
  return (await fetch(address, { headers })).status
}, `${iss}/Patient/ada`)

try {
  await step('a patient makes a passkey, and signs out', async () => {
    const link = new URL(medseal('user', 'invite', '--role', 'patient', '--for', 'Patient/ada'))
    await page.goto(`${site}${link.pathname}${link.search}`)
    await press('Make a passkey')
    await page.waitForURL(`${site}/me`)
    await press('Sign out')
    await page.waitForURL(`${site}/auth/login`)
  })
  // meets smart 17 353 355 363
  await step('fhirclient launches; the patient signs in and approves', async () => {
    await launch()
    await page.waitForURL(`${site}/auth/login?next=**`)
    await press('Sign in with a passkey')
    await page.getByRole('heading', { name: 'Let an app in?' }).waitFor()
    await accessible('approval')
    await press('Approve')
    await page.waitForFunction(() => window.client || window.failed)
    assert.equal(await page.evaluate(() => window.failed), undefined)
  })
  await step('it reads the patient, and nobody else', async () => {
    assert.equal(await page.evaluate(() => client.patient.read().then((patient) => patient.name[0].given[0])), 'ada')
    assert.equal(await page.evaluate(() => client.getFhirUser()), 'Patient/ada')
    assert.equal(await page.evaluate(() => client.request('Patient').then((bundle) => bundle.total)), 1)
    assert.equal(await status('Patient/bob'), 404)
  })
  // meets smart 101 365
  await step('it refreshes, and goes on', async () => {
    const before = await page.evaluate(() => client.state.tokenResponse.access_token)
    await page.evaluate(() => client.refresh())
    const after = await page.evaluate(() => client.state.tokenResponse.access_token)
    assert.notEqual(before, after)
    assert.equal(await status('Patient/ada'), 200)
  })
  await step('the patient ends it: it reads no more', async () => {
    const other = await page.context().newPage()
    await other.goto(`${site}/me`)
    await other.screenshot({ path: join(shots, 'app-me.png'), fullPage: true })
    await other.getByRole('button', { name: 'End the access of Heart' }).click()
    await other.getByText('None.').waitFor()
    await other.close()
    assert.equal(await byToken(), 401)
  })
  await step('refused, the app is told so', async () => {
    await launch()
    await press('Refuse')
    await page.waitForFunction(() => window.failed)
    assert.match(await page.evaluate(() => window.failed), /refused|access_denied/)
  })
  await step('let in by a signed consent, it ends when that is withdrawn', async () => {
    await launch()
    await press('Sign a consent')
    await page.getByRole('heading', { name: 'Read it once more' }).waitFor()
    await accessible('consent')
    await press('Sign with my passkey')
    await press('Go on to Heart')
    await page.waitForFunction(() => window.client || window.failed)
    assert.equal(await page.evaluate(() => window.failed), undefined)
    assert.equal(await status('Patient/ada'), 200)
    const other = await page.context().newPage()
    await other.goto(`${site}/me/access`)
    await other.getByRole('button', { name: 'Withdraw the access of Heart' }).click()
    await other.getByText('Who had access').waitFor()
    await other.close()
    assert.equal(await byToken(), 401)
  })
  // meets smart 352 361 362
  await step('a clinician opens it from a visit: fhirclient knows patient and visit', async () => {
    await page.goto(`${site}/auth/logout`)
    await press('Sign out')
    await page.waitForURL(`${site}/auth/login`)
    const link = new URL(medseal('user', 'invite', '--role', 'clinician', '--for', 'Practitioner/dan', '--organisation', 'Organization/org'))
    await page.goto(`${site}${link.pathname}${link.search}`)
    await press('Make a passkey')
    await page.waitForURL(`${site}/me`)
    await page.goto(`${site}/me/patients/bob/Encounter/visit`)
    await page.getByRole('link', { name: 'Open an app for this visit' }).click()
    await page.getByRole('heading', { name: 'Open an app' }).waitFor()
    await accessible('open')
    await press('Open Growth')
    await page.waitForURL(`${site}/auth/authorize?**`)
    await page.getByText('Encounter/visit').waitFor()
    await accessible('opened')
    await press('Approve')
    await page.waitForFunction(() => window.client || window.failed)
    assert.equal(await page.evaluate(() => window.failed), undefined)
    const context = await page.evaluate(() => [client.patient.id, client.encounter.id, client.state.tokenResponse.need_patient_banner])
    assert.deepEqual(context, ['bob', 'visit', true])
    assert.equal(await page.evaluate(() => client.encounter.read().then((visit) => visit.subject.reference)), 'Patient/bob')
    assert.equal(await status('Patient/ada'), 404)
    const style = await page.evaluate(() => fetch(client.state.tokenResponse.smart_style_url).then((reply) => reply.json()))
    assert.equal(style.color_background, '#f4f6f8')
  })
} finally {
  await browser.close()
  const ended = new Promise((exit) => { service.removeAllListeners('exit').on('exit', exit) })
  service.kill()
  await ended
  app.close()
  rmSync(data, { recursive: true, force: true })
}
