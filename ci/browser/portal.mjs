// What the portal shows to each role, in Chromium, after a small ward was stored: each page by axe, in light, dark and on a phone.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'

/** Files of a document: in itself, and behind it. */
export const LETTER = Buffer.from('Dear colleague,\n\nher knee hurts; see the scan: \u00e4\u00f6\u00fc.\n')
export const SCAN = Buffer.from([0x25, 0x50, 0x44, 0x46, 0, 0xff, 13, 10])

const of = (id) => ({ reference: `Patient/${id}` })
const result = (id, value, day) => ({ resourceType: 'Observation', id, status: 'final', subject: of('ada'), effectiveDateTime: day,
  code: { coding: [{ system: 'http://loinc.org', code: '2339-0' }], text: 'Glucose in blood' },
  valueQuantity: { value, unit: 'mmol/L' }, referenceRange: [{ low: { value: 4 }, high: { value: 6 } }] })
const WARD = [
  { resourceType: 'Patient', id: 'ada', birthDate: '1980-02-29', gender: 'female', name: [{ given: ['Ada'], family: 'Novak <script>alert(1)</script>' }],
    identifier: [{ system: 'http://h/mrn', value: '4711' }] },
  { resourceType: 'Practitioner', id: 'doc', name: [{ given: ['Ida'], family: 'Weiss' }] },
  { resourceType: 'Organization', id: 'clinic', name: 'Quay Clinic' },
  { resourceType: 'Encounter', id: 'visit', status: 'finished', subject: of('ada'), class: { code: 'AMB', display: 'ambulatory' }, period: { start: '2026-03-02' } },
  ...[5.1, 5.8, 6.4, 5.5].map((value, n) => result(`g${n}`, value, `2026-0${n + 1}-02T08:15:00Z`)),
  { resourceType: 'AllergyIntolerance', id: 'nuts', patient: of('ada'), code: { text: 'Hazelnuts' }, criticality: 'high', reaction: [{ manifestation: [{ text: 'Swelling' }] }] },
  { resourceType: 'MedicationRequest', id: 'pill', status: 'active', intent: 'order', subject: of('ada'), authoredOn: '2026-03-02',
    medicationCodeableConcept: { text: 'Ramipril 5 mg' }, dosageInstruction: [{ text: 'one each morning' }] },
  { resourceType: 'Binary', id: 'scan', contentType: 'application/pdf', securityContext: of('ada'), data: SCAN.toString('base64') },
  { resourceType: 'DocumentReference', id: 'letter', status: 'current', subject: of('ada'), date: '2026-03-02T09:00:00Z', type: { text: 'Referral note' },
    content: [{ attachment: { title: 'Letter', contentType: 'text/plain; charset=utf-8', data: LETTER.toString('base64') } },
      { attachment: { title: 'Scan', contentType: 'application/pdf', url: 'Binary/scan', size: SCAN.length } }] },
  { resourceType: 'Patient', id: 'kim', birthDate: `${new Date().getFullYear() - 8}-05-04`, name: [{ given: ['Kim'], family: 'Novak' }] },
  { resourceType: 'Observation', id: 'height', status: 'final', subject: of('kim'), effectiveDateTime: '2026-03-02', code: { text: 'Height' },
    valueQuantity: { value: 128, unit: 'cm' } },
]

/** Stores the ward with a token of the machine. */
async function store(site, medseal) {
  const token = medseal('token', '--scope', 'system/*.cruds')
  medseal('client', 'add', '--name', 'Lab of Northquay', '--scope', 'system/Patient.rs', '--jwks-uri', 'https://lab.example/keys.json')
  for (const resource of WARD) {
    const answer = await fetch(`${site}/fhir/${resource.resourceType}/${resource.id}`, { method: 'PUT', body: JSON.stringify(resource),
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/fhir+json' } })
    assert.equal(answer.status, 201, await answer.text())
  }
  for (const [n, patient] of ['PID|1||4712^^^NQ||Okafor^Ben||19710101|M', 'ZZZ|1||no map has this'].entries()) {
    const message = ['MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260302081500||ADT^A04^ADT_A01|' + n + '|P|2.5.1', patient, 'PV1|1|O'].join('\r')
    const answer = await fetch(`${site}/hl7v2`, { method: 'POST', body: message,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/hl7-v2' } })
    assert.equal(answer.status, 200, await answer.text())
  }
}

const ROLES = [
  ['patient', ['--for', 'Patient/ada'], ['/me/records', '/me/records/Observation', '/me/records/Observation/g1',
    '/me/records/DocumentReference/letter', '/me/records/access', '/me/shares', '/me/explain']],
  ['clinician', ['--for', 'Practitioner/doc', '--organisation', 'Organization/clinic'], ['/me/patients', '/me/patients/ada', '/me/hospitals',
    '/me/emergency']],
  ['auditor', [], ['/me/log', '/me/explain']],
  ['administrator', [], ['/me/feeds', '/me/quarantine', '/me/people', '/me/guardians', '/me/emergencies', '/me/clients', '/me/keys', '/me/backups', '/me/network']],
]
const PHONE = { viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }

/** Each role's pages. */
export async function portal({ site, data, program, person, invitation, accessible, press, at, step }) {
  const medseal = (...words) => execFileSync(program, [...words, '--data', data], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  await store(site, medseal)
  for (const [role, who, paths] of ROLES) {
    for (const [where, options] of [['wide', {}], ['phone', PHONE]]) {
      await step(`the portal of the ${role}, ${where}`, async () => {
        const page = await person(options)
        await page.goto(invitation('--role', role, ...who))
        await press(page, 'Make a passkey')
        await at(page, '/me')
        for (const path of paths) {
          await page.goto(`${site}${path}`)
          await accessible(page, `portal-${where}${path.replaceAll('/', '-')}`)
          const wide = await page.evaluate(() => document.documentElement.scrollWidth) - page.viewportSize().width
          assert.ok(wide <= 0, `${path}: ${wide} pixels too wide`)
        }
        if (role === 'administrator') {
          await page.goto(`${site}/me/quarantine`)
          await page.getByRole('link', { name: /^waits/ }).click()
          await page.getByRole('button', { name: 'Replay' }).waitFor()
          await accessible(page, `portal-${where}-held`)
          const wide = await page.evaluate(() => document.documentElement.scrollWidth) - page.viewportSize().width
          assert.ok(wide <= 0, `a message in quarantine: ${wide} pixels too wide`)
        }
        if (role === 'administrator') {
          await page.goto(`${site}/me/clients`)
          await page.getByRole('link', { name: 'Remove Lab of Northquay' }).click()
          await page.getByRole('button', { name: 'Remove it' }).waitFor()
          await accessible(page, `portal-${where}-remove`)
          await (where === 'wide' ? page.getByRole('link', { name: 'Keep it' }).click() : press(page, 'Remove it'))
          await at(page, '/me/clients')
          assert.equal(await page.getByText('Lab of Northquay').count() > 0, where === 'wide')
        }
        if (role === 'clinician') {
          await page.goto(`${site}/me/patients`)
          await page.getByLabel('Number').fill('4711')
          await press(page, 'Find')
          await page.getByRole('link', { name: /Ada Novak <script>/ }).waitFor()
          await accessible(page, `portal-${where}-found`)
        }
      })
    }
  }
}
