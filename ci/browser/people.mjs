// People sign in, in Chromium against the real service: with a passkey (a virtual authenticator) and with a wallet (window.ethereum
// is injected; its key is Node's). Join, sign out, sign in, add a wallet, sign in with it, remove the passkey. Each page is looked at
// by axe (WCAG 2.1 AA) in light and dark, and on a phone; screenshots are left in a directory.
//
//   node people.mjs MEDSEAL SHOTS     the program, and where the screenshots go

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { looks, step } from './looks.mjs'
import { serveProvider } from './provider.mjs'
import { access } from './access.mjs'
import { pages } from './pages.mjs'
import { portal } from './portal.mjs'
import { walletOf } from './wallet.mjs'

const require = createRequire(join(process.env.MEDSEAL_BROWSER_TOOLS, 'package.json'))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const [program, shots] = process.argv.slice(2)
mkdirSync(shots, { recursive: true })

const data = mkdtempSync(join(tmpdir(), 'medseal-people-'))
const provider = await serveProvider()
const config = join(data, 'medseal.toml')
writeFileSync(config, `outgoing = { allow_private = true, allow_http = true }
feed = { on_error = "quarantine" }
[[login.openid]]
name = "Northquay account"
issuer = "${provider.issuer}"
client_id = "medseal"
`)
const service = spawn(program, ['serve', '--config', config, '--data', data, '--http', '127.0.0.1:0', '--mllp', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] })
let log = ''
service.stderr.on('data', (text) => { log += text })
const port = await new Promise((resolve, reject) => {
  service.stdout.on('data', (text) => resolve(/http=\S+:(\d+)/.exec(text)[1]))
  service.on('exit', () => reject(new Error(log)))
})
const site = `http://localhost:${port}`

const invitation = (...who) => {
  const link = execFileSync(program, ['user', 'invite', '--data', data, ...who], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return `${site}${new URL(link.trim()).pathname}${new URL(link.trim()).search}`
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
const violations = []

/** A browser's profile with an authenticator of its own, and with a wallet. */
async function person(options = {}, wallet = walletOf()) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options })
  await context.exposeFunction('signWithWallet', (message) => wallet.sign(message))
  await context.exposeFunction('signTypedWithWallet', (json) => wallet.signTyped(json))
  await context.addInitScript((address) => {
    const answers = {
      eth_requestAccounts: () => [address],
      personal_sign: ([message]) => window.signWithWallet(message),
      eth_signTypedData_v4: ([, json]) => window.signTypedWithWallet(json),
    }
    window.ethereum = { request: async ({ method, params }) => answers[method](params) }
  }, wallet.address)
  const page = await context.newPage()
  page.on('pageerror', (error) => violations.push(error.message))
  // A browser asks by itself for the icon of a page that names none, as the summary to print, whose policy forbids that.
  page.on('console', (line) => line.type() === 'error' && !/status of 4\d\d|favicon\.ico/.test(line.text()) && violations.push(line.text()))
  const devtools = await context.newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  })
  page.verified = (isUserVerified) => devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified })
  return page
}

const accessible = looks(axe, shots, 'people')
const press = (page, name) => page.getByRole('button', { name }).first().click()
const at = (page, path) => page.waitForURL(`${site}${path}`)
const signOut = async (page) => {
  await press(page, 'Sign out')
  await at(page, '/auth/login')
}

try {
  const auditor = await person()
  await step('an invitation is opened, and a passkey made', async () => {
    await auditor.goto(invitation('--role', 'auditor'))
    await accessible(auditor, 'join')
    await press(auditor, 'Make a passkey')
    await at(auditor, '/me')
    assert.match(await auditor.textContent('.lead'), /an auditor/)
    await accessible(auditor, 'me')
  })
  await step('sign out, and in again by the passkey, with no name typed', async () => {
    const [cookie] = await auditor.context().cookies(site)
    assert.deepEqual([cookie.name, cookie.secure, cookie.httpOnly, cookie.sameSite, cookie.path], ['__Host-medseal', true, true, 'Lax', '/'])
    await signOut(auditor)
    await auditor.goto(`${site}/me`)
    await at(auditor, '/auth/login?next=%2Fme')
    await accessible(auditor, 'login')
    await press(auditor, 'Sign in with a passkey')
    await at(auditor, '/me')
    const [next] = await auditor.context().cookies(site)
    assert.notEqual(next.value, cookie.value)
  })
  await step('a wallet is linked, and signs in', async () => {
    await press(auditor, 'Add a wallet')
    await auditor.getByRole('cell', { name: /^0x/ }).waitFor()
    await accessible(auditor, 'me-two-keys')
    await signOut(auditor)
    await press(auditor, 'Sign in with a wallet')
    await at(auditor, '/me')
    assert.match(await auditor.textContent('tr:has-text("0x")'), /signed in with now/)
  })
  await step('the passkey is removed, and does not sign in any more', async () => {
    await auditor.locator('tr:has-text("Passkey")').getByRole('button').click()
    await auditor.waitForFunction(() => !document.body.textContent.includes('Remove the Passkey'))
    assert.equal(await auditor.locator('tbody tr').count(), 1)
    await signOut(auditor)
    await press(auditor, 'Sign in with a passkey')
    await auditor.getByRole('alert').getByText('Nobody here signs in with this.').waitFor()
    await accessible(auditor, 'login-refused')
  })
  await step('a used invitation, and a strange wallet, are refused in words', async () => {
    const late = await person()
    const link = invitation('--role', 'administrator')
    await late.goto(link)
    await press(late, 'Use my wallet')
    await at(late, '/me')
    const other = await person()
    await other.goto(link)
    assert.match(await other.textContent('[role=alert]'), /was used, or has expired/)
    await accessible(other, 'join-used')
    await other.goto(`${site}/auth/login`)
    await press(other, 'Sign in with a wallet')
    await other.getByRole('alert').getByText('Nobody here signs in with this.').waitFor()
  })
  await step('by keyboard alone, on a phone; who is not verified does not get in', async () => {
    const phone = await person({ viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true })
    await phone.goto(invitation('--role', 'auditor'))
    await phone.verified(false)
    await press(phone, 'Make a passkey')
    await phone.getByRole('alert').getByText('Nothing was signed').waitFor()
    await phone.verified(true)
    await phone.getByRole('button', { name: 'Make a passkey' }).focus()
    await phone.keyboard.press('Enter')
    await at(phone, '/me')
    assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth), 375, 'nothing is wider than the screen')
    await accessible(phone, 'phone-me')
    await signOut(phone)
    await accessible(phone, 'phone-login')
  })
  await step('an account that is closed is out at the next click', async () => {
    const page = await person()
    await page.goto(invitation('--role', 'auditor'))
    await press(page, 'Make a passkey')
    await at(page, '/me')
    const id = /Account\s*([0-9a-f-]{36})/.exec(await page.textContent('.facts'))[1]
    execFileSync(program, ['user', 'disable', '--data', data, id])
    await page.goto(`${site}/me`)
    await at(page, '/auth/login?next=%2Fme')
    await press(page, 'Sign in with a passkey')
    await page.getByRole('alert').getByText('This account is closed').waitFor()
  })
  await step('an account elsewhere is added, and signs in', async () => {
    const page = await person()
    await page.goto(invitation('--role', 'auditor'))
    await press(page, 'Make a passkey')
    await at(page, '/me')
    await press(page, 'Add: Northquay account')
    await page.getByRole('cell', { name: 'Northquay account', exact: true }).waitFor()
    await accessible(page, 'me-provider')
    await signOut(page)
    await press(page, 'Northquay account')
    await at(page, '/me')
    assert.match(await page.textContent('tr:has-text("Northquay account")'), /signed in with now/)
    const names = (await page.context().cookies(site)).map(({ name }) => name)
    assert.deepEqual(names, ['__Host-medseal'])
  })
  await step('by address one goes on by name', async () => {
    const page = await person()
    await page.goto(`http://127.0.0.1:${port}/me`)
    await at(page, '/auth/login?next=%2Fme')
  })
  /** A browser of somebody who was invited. */
  const join = async (...who) => {
    const page = await person()
    await page.goto(invitation(...who))
    await press(page, 'Make a passkey')
    await at(page, '/me')
    return page
  }
  await portal({ site, data, program, person, invitation, accessible, press, at, step })
  await pages({ site, data, program, person, join, accessible, press, at, step })
  await access({ site, person, invitation, join, accessible, press, at, step })
  assert.deepEqual(violations, [])
} finally {
  await browser.close()
  service.kill()
  provider.close()
  rmSync(data, { recursive: true, force: true })
}
