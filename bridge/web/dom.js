// Builds elements. Text only ever becomes text: nothing from a receipt or a server is read as HTML.

/** An element with properties (`class`, `text`, `for`, ... ; false and undefined are left out) and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'text') made.textContent = value
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : value)
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return made
}

export const byId = (id) => document.getElementById(id)

const SVG = 'http://www.w3.org/2000/svg'
const PATHS = {
  good: ['M12 2.5l8 3v6c0 5-3.4 8.4-8 10-4.6-1.6-8-5-8-10v-6z', 'M8.5 12l2.5 2.5 4.5-5'],
  bad: ['M8.3 2.500h7.400l5.8 5.800v7.400l-5.8 5.800H8.300l-5.8-5.800V8.300z', 'M9 9l6 6M15 9l-6 6'],
  warn: ['M12 3.500L22 20.500H2z', 'M12 10v5M12 17.900v.2'],
  yes: ['M4.5 12.500l5 5 10-11'],
  no: ['M6 12h12'],
  tampered: ['M5.5 5.500l13 13M18.5 5.500l-13 13'],
  erased: ['M5 7h14M9 7V4.500h6V7M7 7l1 13h8l1-13'],
  waiting: ['M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18', 'M12 7.500V12l3 2'],
}
PATHS.intact = PATHS.yes

/** An icon beside a word; it says nothing by itself, so that readers aloud skip it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg')
  for (const [key, value] of [['viewBox', '0 0 24 24'], ['class', 'icon'], ['aria-hidden', 'true'], ['focusable', 'false']]) {
    svg.setAttribute(key, value)
  }
  for (const line of PATHS[name]) {
    const path = document.createElementNS(SVG, 'path')
    path.setAttribute('d', line)
    svg.append(path)
  }
  return svg
}

/** A list of names and values; values that are not there are left out. */
export function facts(pairs) {
  const there = pairs.filter(([, value]) => value !== undefined && value !== null)
  return element('dl', { class: 'facts' }, there.flatMap(([name, value]) => [element('dt', { text: name }), element('dd', { text: String(value) })]))
}

/** What opens a verdict: icon, word, name and sentences. `tone` is good, bad or warn. */
export function banner(tone, word, name, sentences, stamp) {
  const title = element('h2', {}, element('span', { class: 'word', text: word }), ' ', name && element('span', { class: 'name', text: name }))
  const texts = sentences.filter(Boolean).map((text) => element('p', { text }))
  return element('div', { class: 'banner' }, icon(tone), element('div', {}, title, texts, stamp && element('span', { class: 'stamp', text: stamp })))
}

/** Shows a verdict in its box, and tells its banner, which is short, to those who hear the page. */
export function show(box, tone, head, ...rest) {
  box.className = `verdict ${tone}`
  box.replaceChildren(head, ...rest)
  box.hidden = false
  byId('told').textContent = [...head.querySelectorAll('h2, p, .stamp')].map((part) => part.textContent.trim()).join('. ')
}

/** Seconds since 1970 as a date in UTC, in one form for everybody. */
export function dateOf(seconds) {
  const milliseconds = Number(seconds) * 1000
  if (Number.isNaN(new Date(milliseconds).getTime())) return 'not a date'
  return new Date(milliseconds).toISOString().replace('T', ' ').replace('.000Z', ' UTC')
}

export const grouped = (number) => Number(number).toLocaleString('en-GB')
