// A patient gives access by passkey and by wallet and takes it back by a click and by the code, in Chromium, on the ward that
// `portal.mjs` has stored. Each page by axe.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

const STANDS = 'It stands on the chain, and counts.'

/** Reloads until the page says it, so many times. */
async function until(page, words, times = 1) {
  for (let n = 0; n < 100; n += 1) {
    await page.reload()
    if ((await page.textContent('main')).split(words).length > times) return
    await page.waitForTimeout(100)
  }
  assert.fail(`${words} is not there: ${await page.textContent('main')}`)
}

export async function access({ site, person, invitation, join, accessible, press, at, step }) {
  const ada = await join('--role', 'patient', '--for', 'Patient/ada')
  const doctor = await join('--role', 'clinician', '--for', 'Practitioner/doc', '--organisation', 'Organization/clinic')
  const chart = async () => (await doctor.goto(`${site}/me/patients/ada`)).status()

  /** Fills in the form, and reads the terms. */
  const terms = async (who) => {
    await ada.goto(`${site}/me/access`)
    await ada.getByRole('link', { name: 'Give access' }).click()
    await ada.getByLabel('Organisation, person or program').selectOption(who)
    await ada.getByLabel('mental health').check()
    await accessible(ada, 'access-form')
    await press(ada, 'Read it once more')
    await ada.locator('#grant').waitFor()
  }
  /** The code's file, as it is saved. */
  const saved = async () => {
    await ada.locator('#code').waitFor()
    await accessible(ada, 'access-code')
    const [download] = await Promise.all([ada.waitForEvent('download'), ada.getByRole('link', { name: 'Save the file' }).click()])
    assert.equal(download.suggestedFilename(), 'revocation-code.txt')
    const text = readFileSync(await download.path(), 'utf8')
    assert.equal(text, await ada.inputValue('#code-text'))
    await ada.getByRole('link', { name: 'Go on' }).click()
    await at(ada, '/me/access')
    return text
  }

  await step('a patient gives access with the passkey, sees it, and gets the code', async () => {
    assert.equal(await chart(), 200)
    await terms('Practitioner/doc')
    assert.match(await ada.textContent('.facts'), /everything in my record; but nothing about mental health/)
    await accessible(ada, 'access-terms')
    await press(ada, 'Sign with my passkey')
    assert.match(await saved(), /^medseal-revocation\/1\n[^]*\nsecret: MSR1-[0-9A-Z-]+\ncheck: [0-9a-f]{8}\n$/)
    await until(ada, STANDS)
    await accessible(ada, 'access')
    assert.equal(await chart(), 200)
  })
  await step('a click withdraws it, and the doctor sees nothing any more', async () => {
    await press(ada, 'Withdraw the access of Ida Weiss')
    await at(ada, '/me/access')
    assert.equal(await chart(), 404)
    await accessible(doctor, 'access-refused')
    await until(ada, 'It is withdrawn, here and on the chain.')
    await accessible(ada, 'access-withdrawn')
  })
  await step('the same with a wallet, and the code that she alone has withdraws it, signed in or not', async () => {
    await ada.goto(`${site}/me`)
    await press(ada, 'Add a wallet')
    await ada.getByRole('cell', { name: /^0x/ }).waitFor()
    await terms('Organization/clinic')
    await ada.getByLabel('Keep a copy here').uncheck()
    await press(ada, 'Sign with my wallet')
    const code = await saved()
    await until(ada, STANDS)
    const anybody = await person()
    await anybody.goto(`${site}/withdraw`)
    await accessible(anybody, 'withdraw')
    await anybody.getByLabel('The code').fill(code.replace(/secret: MSR1-(.)/, (_, first) => `secret: MSR1-${first === 'Z' ? 'Y' : 'Z'}`))
    await press(anybody, 'Withdraw')
    assert.match(await anybody.textContent('[role=alert]'), /no revocation code/)
    await anybody.goto(`${site}/withdraw`)
    await anybody.getByLabel('The code').fill(code)
    await press(anybody, 'Withdraw')
    await anybody.getByRole('status').getByText('The access is withdrawn.').waitFor()
    await accessible(anybody, 'withdrawn')
    await until(ada, 'It is withdrawn, here and on the chain.', 2)
  })
  await step('on a phone nothing is wider than the screen', async () => {
    const phone = await person({ viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true })
    await phone.goto(invitation('--role', 'patient', '--for', 'Patient/ada'))
    await press(phone, 'Make a passkey')
    await at(phone, '/me')
    for (const path of ['/me/access', '/me/access/new', '/withdraw']) {
      await phone.goto(`${site}${path}`)
      await accessible(phone, `phone${path.replaceAll('/', '-')}`)
      assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth), 375, path)
    }
  })
}
