// Pages that the other scripts do not come by, in Chromium, on the ward that `portal.mjs` has stored: what is public, files that are saved and
// compared, a child for whom somebody acts, an emergency. Each page by axe.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { LETTER, SCAN } from './portal.mjs'

const HOME = 'http://localhost:9000/'
const APP = ['--app', '--public', '--name', 'Growth', '--redirect', HOME, '--launch', `${HOME}open`, '--scope', 'launch launch/encounter openid patient/*.rs']

export async function pages({ site, data, program, person, join, accessible, press, at, step }) {
  /** Goes to a page, which says something. */
  const show = async (page, path, words) => {
    assert.equal((await page.goto(`${site}${path}`)).status(), 200, path)
    assert.match(await page.textContent('body'), words)
    await accessible(page, `pages${path.replace(/\W/g, '-')}`)
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= page.viewportSize().width, `${path} is too wide`)
  }
  /** What a link saves. */
  const saved = async (page, link, name) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: link, exact: true }).click()])
    assert.equal(download.suggestedFilename(), name)
    return readFileSync(await download.path())
  }
  const everything = async (page) => JSON.parse(await saved(page, 'Download everything', 'record.json')).entry.map(({ resource }) => resource.id)

  execFileSync(program, ['client', 'add', ...APP, '--data', data], { stdio: 'ignore' })
  const ada = await join('--role', 'patient', '--for', 'Patient/ada')
  const doctor = await join('--role', 'clinician', '--for', 'Practitioner/doc', '--organisation', 'Organization/clinic')
  const chief = await join('--role', 'administrator')

  await step('what is public, as the service serves it', async () => {
    const page = await person()
    await show(page, '/', /sealed and notarised/)
    await page.getByRole('link', { name: '/verify' }).click()
    await at(page, '/verify')
    await show(page, '/verify', /in this browser/)
    await show(page, '/ledger', /The log of this service/)
    await page.locator('#tiles div').first().waitFor()
  })
  await step('a patient saves the files of a letter, a receipt that holds, and everything', async () => {
    await show(ada, '/me/records/DocumentReference', /Referral note/)
    await show(ada, '/me/records/DocumentReference/letter', new RegExp(`Letter \\(text, ${LETTER.length} bytes\\)`))
    assert.deepEqual(await saved(ada, 'Letter', 'Letter.txt'), LETTER)
    assert.deepEqual(await saved(ada, 'Scan', 'Scan.pdf'), SCAN)
    await ada.goto(`${site}/me/records/Observation/g1`)
    const buffer = await saved(ada, 'Download the receipt', 'receipt.json')
    await ada.getByRole('link', { name: 'Check a receipt' }).click()
    await at(ada, '/verify')
    await ada.setInputFiles('#receipt-file', { name: 'receipt.json', mimeType: 'application/json', buffer })
    await ada.waitForFunction(() => document.querySelector('#verdict:not([hidden]) .word')?.textContent.startsWith('Holds'))
    await ada.goto(`${site}/me/records`)
    const ids = await everything(ada)
    assert.ok(['ada', 'letter', 'g1'].every((id) => ids.includes(id)) && !ids.includes('height'), ids)
  })
  await step('a patient prints a summary, opens an app, and may sign out', async () => {
    await show(ada, '/me/records/summary', /Glucose in blood/)
    await show(ada, '/me/records/apps', /Open Growth/)
    await show(ada, '/auth/logout', /You are signed in\./)
  })
  await step('an administrator lets somebody act for a child, whose record she then sees', async () => {
    await chief.goto(`${site}/me/guardians`)
    await chief.getByLabel('Guardian', { exact: true }).fill('Patient/ada')
    await chief.getByLabel('Patient', { exact: true }).fill('Patient/kim')
    await press(chief, 'Link')
    await chief.getByRole('button', { name: 'End that Patient/ada acts for Patient/kim' }).waitFor()
    await accessible(chief, 'pages-guardians-linked')
    await ada.goto(`${site}/me`)
    await ada.getByRole('link', { name: 'The record of Patient/kim' }).click()
    await at(ada, '/me/wards/kim')
    assert.ok((await everything(ada)).includes('height'))
    for (const [path, words] of [['', /Kim Novak/], ['/Observation', /128 cm/], ['/Observation/height', /Is it unchanged/], ['/summary', /Kim Novak/],
      ['/access', /Each time that somebody/], ['/grants', /You act for Patient\/kim/], ['/grants/new', /Say who may see what/]]) {
      await show(ada, `/me/wards/kim${path}`, words)
    }
  })
  await step('a clinician sees the same, saves a file, and writes down what a patient says', async () => {
    for (const [path, words] of [['/Observation', /128 cm/], ['/Observation/height', /Is it unchanged/], ['/summary', /Kim Novak/], ['/apps', /Open Growth/],
      ['/grant', /what the patient has told you/]]) {
      await show(doctor, `/me/patients/kim${path}`, words)
    }
    await doctor.goto(`${site}/me/patients/kim`)
    assert.ok((await everything(doctor)).includes('height'))
    await doctor.goto(`${site}/me/patients/ada/DocumentReference/letter`)
    assert.deepEqual(await saved(doctor, 'Scan', 'Scan.pdf'), SCAN)
  })
  await step('an emergency is declared, told to who acts for the patient, and ended', async () => {
    await show(doctor, '/me/emergency?patient=kim', /For the record Patient\/kim/)
    await doctor.getByLabel('As what you act').fill('physician on call')
    await doctor.getByLabel('Why you must see the record now').fill('found unconscious')
    await press(doctor, 'Declare, and see the record')
    await at(doctor, '/me/patients/kim')
    await show(doctor, '/me/emergency', /Patient\/kim/)
    await show(ada, '/me/wards/kim', /Somebody declared an emergency/)
    await show(chief, '/me/emergencies', /Practitioner\/doc/)
    await press(chief, 'End the emergency for Patient/kim')
    await chief.getByText('No emergency is declared.').waitFor()
  })
}
