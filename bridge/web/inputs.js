// The places where a file is dropped, chosen or pasted. What they hold stays in this page's memory.

import { byId } from './dom.js'

/** No file that a verifier takes is longer. */
const MAX_BYTES = 64 * 1024 * 1024

const held = new Map()

/** The bytes in each place that has some, by its name. */
export const inputs = () => Object.fromEntries([...held].map(([name, { bytes }]) => [name, bytes]))

/** Watches the places in `form`; calls `changed` when what they hold is another. */
export function watchInputs(form, changed) {
  for (const place of form.querySelectorAll('.drop')) watch(place, changed)
  // A file that misses its place must not replace the page.
  for (const event of ['dragover', 'drop']) addEventListener(event, (drag) => drag.preventDefault())
  form.addEventListener('reset', () => clear(form, changed))
}

function watch(place, changed) {
  const name = place.dataset.name
  const file = byId(`${name}-file`)
  const text = byId(`${name}-text`)
  const take = async (chosen) => chosen && (hold(place, name, await readFile(chosen)), changed())
  file.addEventListener('change', () => take(file.files[0]))
  text?.addEventListener('input', () => (hold(place, name, pasted(text.value)), changed()))
  for (const event of ['dragenter', 'dragover']) place.addEventListener(event, () => place.classList.add('over'))
  for (const event of ['dragleave', 'drop']) place.addEventListener(event, () => place.classList.remove('over'))
  place.addEventListener('drop', (drag) => take(drag.dataTransfer.files[0]))
}

async function readFile(file) {
  if (file.size > MAX_BYTES) return { says: `${file.name} is longer than 64 MiB: not read` }
  const bytes = new Uint8Array(await file.arrayBuffer())
  return { bytes, says: `${file.name}, ${bytes.length.toLocaleString('en-GB')} bytes` }
}

function pasted(text) {
  if (text === '') return {}
  const bytes = new TextEncoder().encode(text)
  return { bytes, says: `Pasted, ${bytes.length.toLocaleString('en-GB')} bytes` }
}

function hold(place, name, { bytes, says }) {
  if (bytes) held.set(name, { bytes })
  else held.delete(name)
  place.classList.toggle('filled', bytes !== undefined)
  byId(`${name}-state`).textContent = says ?? 'Drop a file here, or choose one.'
}

function clear(form, changed) {
  for (const place of form.querySelectorAll('.drop')) hold(place, place.dataset.name, {})
  changed()
}
