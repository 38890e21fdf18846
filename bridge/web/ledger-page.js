// The page /ledger: checkpoint, anchors and lag, and the stored records held against the log.
//
// What it reads from the service. Numbers are JSON numbers, hashes hexadecimal without 0x (roots) or with it (blocks,
// transactions, addresses), times ISO 8601 in UTC. A member marked ? may be absent or null.
//
//   GET log/status.json          for everybody; holds nothing of a patient
//     { "origin": TEXT,          the log's name
//       "size": N,               entries in the log, those after the checkpoint included
//       "checkpoint": {"size": N, "root": HEX, "time"?: TIME} | null,      the newest one signed
//       "anchors": [{"size": N, "root": HEX, "block": N, "time": TIME, "gas"?: N, "fee"?: WEI}],  newest first, at most 100
//       "lag": N,                entries that are not anchored yet
//       "lastError"?: TEXT,      why the last attempt to anchor failed, without any secret; null once one succeeded
//       "kind": "embedded" | "consortium" | "public",
//       "chainId": N,
//       "contract": ADDRESS,
//       "evidence": [{"origin": TEXT, "size": N, "seen": TIME, "one": NOTE, "other": NOTE}] }    logs that signed two histories
//
//   GET log/records.json?find=F&after=N&limit=N          `Authorization: Bearer`, auditors and administrators
//     find   Type/id (all its versions), or a leaf's index; without it, all
//     after  only leaves above this index; `next` of the page before
//     limit  at most 100, 50 by default
//     { "records": [{"index": N|null,         null while it waits for its place in the log
//                    "reference": TEXT, "versionId": TEXT,
//                    "state": "intact" | "tampered" | "erased" | "waiting",
//                    "why"?: TEXT}],          for `tampered`: what does not hold; never a patient's datum
//       "next": N | null }                    what to ask for as `after`; null at the end
//     401 and 403 without a token that may read it; 400 where `find` is neither form.

import { byId, dateOf, element, grouped, icon } from './dom.js'

const REFRESH_MILLISECONDS = 10_000
const STATES = { intact: 'Intact', tampered: 'Tampered', erased: 'Erased', waiting: 'Waiting' }
const KINDS = { embedded: ['Embedded', 'no independent trust'], consortium: ['Consortium', ''], public: ['Public', ''] }

/** Where the table goes on, and what was counted so far. */
let page = { find: '', next: null, counts: {} }

refresh()
setInterval(refresh, REFRESH_MILLISECONDS)
byId('search').addEventListener('submit', (event) => {
  event.preventDefault()
  page = { find: byId('find').value.trim(), next: null, counts: {} }
  byId('records').replaceChildren()
  load()
})
byId('more').addEventListener('click', load)

async function refresh() {
  if (document.hidden) return
  try {
    const reply = await fetch('log/status.json', { cache: 'no-store' })
    if (!reply.ok) throw new Error(`the service answered ${reply.status}`)
    showStatus(await reply.json())
  } catch (error) {
    trouble(`The state of the log cannot be read: ${error.message}.`)
  }
}

function trouble(text) {
  byId('trouble').hidden = !text
  // Said once: a reader aloud need not hear the same every ten seconds.
  if (byId('trouble').textContent !== (text ?? '')) byId('trouble').textContent = text ?? ''
}

function showStatus(status) {
  const { checkpoint, anchors, lastError } = status
  const forked = (status.evidence ?? []).map(({ origin, size }) => `The log ${origin} has signed two histories of ${size} entries. `).join('')
  const failed = lastError ? `The last attempt to anchor failed: ${lastError}. Records are still taken in and logged.` : ''
  trouble(forked + failed || null)
  const [kind, trust] = KINDS[status.kind] ?? [status.kind, '']
  byId('tiles').replaceChildren(
    tile('Entries in the log', grouped(status.size), status.origin),
    tile('Anchored', grouped(anchors[0]?.size ?? 0), anchors[0] ? timeOf(anchors[0].time) : 'never yet'),
    tile('Waiting for an anchor', grouped(status.lag), status.lag === 0 ? 'all anchored' : 'entries'),
    tile('Ledger', kind, [trust, `chain ${status.chainId}`].filter(Boolean).join(', ')),
  )
  byId('anchors').replaceChildren(...anchors.map((anchor, i) => anchorRow(anchor, anchors[i + 1])))
  if (checkpoint) byId('tiles').append(tile('Newest checkpoint', grouped(checkpoint.size), `root ${checkpoint.root.slice(0, 16)}…`))
}

function tile(name, value, note) {
  return element('div', {}, element('dt', { text: name }), element('dd', {}, value, note && element('span', { class: 'note', text: note })))
}

const timeOf = (time) => dateOf(Math.floor(Date.parse(time) / 1000))

function anchorRow(anchor, before) {
  const { size, root, block, time, gas, fee } = anchor
  // The oldest anchor of a full page has one before it that is not shown.
  const each = gas !== null && (before || block === 1) ? gas / (size - (before?.size ?? 0)) : null
  return element('tr', {},
    number(grouped(size)), element('td', { class: 'mono', text: `${root.slice(0, 16)}…`, title: root }), number(grouped(block)),
    element('td', { class: 'time', text: timeOf(time) }), number(gas === null ? '' : grouped(gas)),
    number(fee ? gweiOf(fee) : ''), number(each === null ? '' : each.toFixed(each < 100 ? 1 : 0)))
}

/** Wei, in decimal, as gwei. */
const gweiOf = (wei) => (Number(wei) / 1e9).toLocaleString('en-GB', { maximumSignificantDigits: 6 })

const number = (text) => element('td', { class: 'number', text })

async function load() {
  const query = new URLSearchParams({ limit: '50' })
  if (page.find) query.set('find', page.find)
  if (page.next !== null) query.set('after', String(page.next))
  const asked = page
  try {
    const answer = await records(query)
    if (asked === page) showRecords(answer)
  } catch (error) {
    if (asked === page) byId('summary').textContent = `The records cannot be read: ${error.message}.`
  }
}

async function records(query) {
  const headers = { authorization: `Bearer ${byId('token').value.trim()}` }
  const reply = await fetch(`log/records.json?${query}`, { headers, cache: 'no-store' })
  if (reply.status === 401 || reply.status === 403) throw new Error('the token is not one of an auditor or administrator, or is too old')
  if (!reply.ok) throw new Error(`the service answered ${reply.status}`)
  return reply.json()
}

function showRecords({ records: rows, next }) {
  page.next = next
  for (const { state } of rows) page.counts[state] = (page.counts[state] ?? 0) + 1
  byId('records').append(...rows.map(recordRow))
  byId('records-table').hidden = byId('records').children.length === 0
  byId('more').hidden = next === null
  byId('summary').textContent = summaryOf(page.counts, next)
}

function summaryOf(counts, next) {
  const parts = Object.keys(STATES).filter((state) => counts[state]).map((state) => `${grouped(counts[state])} ${STATES[state].toLowerCase()}`)
  if (parts.length === 0) return 'No record of that name or leaf.'
  return `${parts.join(', ')}${next === null ? '' : '; there are more'}.`
}

function recordRow({ index, reference, versionId, state, why }) {
  const known = Object.hasOwn(STATES, state) ? state : 'tampered'
  const mark = element('span', { class: `mark ${known}` }, icon(known), STATES[known])
  return element('tr', { class: known },
    number(index === null ? '' : grouped(index)), element('td', {}, mark),
    element('td', { class: 'mono', text: reference }), number(versionId), element('td', { class: 'why', text: why ?? '' }))
}
