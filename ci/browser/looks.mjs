// What every script of pages does: it says each step, and looks at each page with axe (WCAG 2.1 AA) in light and dark.

import assert from 'node:assert/strict'
import { join } from 'node:path'

/** Gives what looks at a page and leaves its screenshots in a directory, by a name. */
export function looks(axe, shots, name) {
  return async (page, what) => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      await page.evaluate(axe)
      const found = await page.evaluate(() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }))
      assert.deepEqual(found.violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes[0].html}`), [])
      await page.screenshot({ path: join(shots, `${name}-${what}-${colorScheme}.png`), fullPage: true })
    }
    await page.emulateMedia({ colorScheme: 'light' })
  }
}

export async function step(says, run) {
  await run()
  console.log(`ok: ${says}`)
}
