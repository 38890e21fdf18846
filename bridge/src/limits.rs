//! Every bound on what comes from outside, with its reason.

use std::time::Duration;

/// The longest HTTP body: a transaction Bundle with some scanned documents.
pub const MAX_BODY_BYTES: usize = 32 << 20;
/// The longest request for a cosignature, which a stranger may send: a signed note with some dozens of signatures, and 64 hashes.
pub const MAX_WITNESS_BYTES: usize = 32 << 10;
/// Bytes of bodies in memory at the same time, from their first byte to their answer, and about those of what is read out of them.
pub const MAX_BODIES_BYTES: usize = 256 << 20;
/// The most of them of one client: there is room for others whatever one does.
pub const MAX_BODIES_OF_ONE: usize = MAX_BODIES_BYTES / 2;
/// What a value that is read out of a body takes of that: a string or number with its name, of which there are many, some 50 bytes; objects more.
pub const VALUE_BYTES: usize = 48;
/// How long a body waits for room before its client is told to come back.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// Longer bodies are read and checked beside the network threads, which others wait for.
pub const LARGE_BODY_BYTES: usize = 64 << 10;
/// The longest MLLP frame: an ORU with an embedded PDF stays well below.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// What each MLLP connection may hold of a frame: nearly all messages are shorter.
pub const SMALL_FRAME_BYTES: usize = 64 << 10;
/// Bytes of frames beyond that, of all connections together, until they are answered; and the most of them of one address.
pub const MAX_FRAMES_BYTES: usize = 128 << 20;
pub const MAX_FRAMES_OF_ONE: usize = MAX_FRAMES_BYTES / 2;
/// How long a frame waits for room before its connection ends and its sender sends again.
pub const FRAME_PATIENCE: Duration = Duration::from_secs(10);
/// Messages that wait in quarantine, of all feeds: far more than anybody mends. Beyond, what is faulty is refused as elsewhere.
pub const MAX_HELD: usize = 20_000;
/// How often the log tells of what strangers can repeat as often as they like; counters tell of the rest.
pub const NEWS_PAUSE: Duration = Duration::from_secs(10);
/// The most entries of a Bundle: Synthea's largest patients have about 5,000.
pub const MAX_BUNDLE_ENTRIES: usize = 20_000;
/// Entries of a batch that are carried out at once: they share a group commit, and leave room in the queue for others.
pub const MAX_BATCH_AT_ONCE: usize = 64;
/// Reading entries of a batch that are answered at once: each may be a whole page.
pub const MAX_READS_AT_ONCE: usize = 8;
/// How heavy the answers to a Bundle's reading entries may become together; the entries after that are refused.
pub const MAX_ANSWERS_BYTES: usize = 64 << 20;
/// The most operations of one patch: it is applied while others wait.
pub const MAX_PATCH_OPERATIONS: usize = 1_000;
/// The most bytes that one patch copies inside a resource: a value that is copied into itself doubles each time.
pub const MAX_PATCH_COPY: usize = 1 << 20;
/// The most messages of one HL7 batch file.
pub const MAX_BATCH_MESSAGES: usize = 10_000;
/// The most lines of a mapping report that are kept: a message of thousands of results tells the same over and over.
pub const MAX_REPORT_LINES: usize = 2_000;
/// The most issues that one refusal lists: more help nobody.
pub const MAX_ISSUES: usize = 50;
/// References that `$validate` looks up: each is a read.
pub const MAX_CHECKED_REFERENCES: usize = 100;
/// Steps of evaluating constraints in one `$validate`: seconds of work. A Synthea bundle of 100 resources takes 20 thousand.
pub const MAX_STEPS: u64 = 100_000_000;
/// The longest query string; GET searches with long lists belong in a POST.
pub const MAX_QUERY_BYTES: usize = 16 << 10;
/// The most parameters of one search: each is a walk over postings.
pub const MAX_QUERY_TERMS: usize = 32;
/// The most values that one parameter may offer as alternatives.
pub const MAX_QUERY_VALUES: usize = 100;
/// Entries of a page unless `_count` asks otherwise, and the most that it may ask for.
pub const DEFAULT_PAGE: usize = 50;
pub const MAX_PAGE: usize = 1_000;
/// How heavy a page may become, scanned documents and all, before it ends early.
pub const MAX_PAGE_BYTES: usize = 16 << 20;
/// Open HTTP connections: each may hold a body of MAX_BODY_BYTES.
pub const MAX_HTTP_CONNECTIONS: usize = 512;
/// Open MLLP connections, of all listeners; a hospital has some dozens of feeds.
pub const MAX_MLLP_CONNECTIONS: usize = 256;
/// The longest head of a request: a line with a query of [`MAX_QUERY_BYTES`], a token, cookies, and what proxies add. So much is kept of each
/// connection before it is known whose it is.
pub const MAX_HEADER_BYTES: usize = 64 << 10;
/// How long a client may take to send its header, and its body: slow ones hold a connection.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a frame that has begun may take to arrive. Between frames a feed may be silent for days.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(60);
/// After how much silence an MLLP connection is asked whether its other end is still there, how long between two such questions, and how
/// many without an answer end it: a machine that lost its power, or a firewall that forgot, holds its place for two minutes.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
pub const KEEPALIVE_PROBE: Duration = Duration::from_secs(20);
pub const KEEPALIVE_PROBES: u32 = 3;
/// How long TLS may take to begin: nobody is known by then.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message waits for its feed's turn before its sender is told to come back: below the patience of senders.
pub const PACE_PATIENCE: Duration = Duration::from_secs(10);
/// Threads that ask the index and open records. Each keeps some megabytes of what it worked with, and all that there were in a moment of
/// many stay for as long as there is work: in an hour's soak memory grew with each such moment, and with nothing else.
pub const BLOCKING_THREADS_OF_A_CORE: usize = 8;
pub const MIN_BLOCKING_THREADS: usize = 16;
/// Clients whose requests are counted one by one.
pub const MAX_PACED_CLIENTS: usize = 10_000;
/// The longest request over the control socket: a message of [`MAX_FRAME_BYTES`], as JSON.
pub const MAX_CONTROL_BYTES: usize = 4 * MAX_FRAME_BYTES;
/// How long an acknowledgement may take to be taken by the sender.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stopping service waits for what it has taken.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// The longest that one transaction waits for its commit before the sender is told to retry.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Transactions that wait for the committer: beyond, senders are told to retry.
pub const MAX_WAITING: usize = 4_096;
/// How often a group may lose against another replica's: from the second time on it has the turn first, and can only lose it.
pub const MAX_RACES: u32 = 4;
/// The packs of which the names are made ahead in a directory: its sync is shared by that many groups.
pub const PACKS_AHEAD: usize = 16;
/// The most transactions, and sealed bytes, of one group commit: bounds its latency and memory. There are two at once: one is written,
/// one gathers.
pub const MAX_GROUP: usize = 512;
pub const MAX_GROUP_BYTES: usize = 16 << 20;
/// The longest bearer token.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// The most scopes of one token: each is held against what is asked for.
pub const MAX_SCOPES: usize = 100;
/// The longest body of a request to the authorization server, which a stranger may send: a form with one assertion.
pub const MAX_AUTH_BYTES: usize = 64 << 10;
/// The longest life of an assertion (SMART App Launch 2.2, section 4.1.4: five minutes), and of the token that a client gets for it
/// (section 4.1.6: no longer than five minutes is recommended): it can ask again at any time.
pub const MAX_ASSERTION_LIFE: Duration = Duration::from_secs(300);
pub const CLIENT_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// How often it is looked whether certificates or lists of revoked ones were replaced. They are taken when they are the same at two looks, so
/// within a minute.
pub const RENEWAL_LOOK: Duration = Duration::from_secs(25);
/// How far a client's clock may be ahead of this one's.
pub const CLOCK_SKEW: Duration = Duration::from_secs(10);
/// The longest `jti` and `kid`: names, no letters.
pub const MAX_KEY_NAME: usize = 256;
/// How long an app that registered itself stays that nobody lets in: a day to try it.
pub const REGISTERED_UNUSED: Duration = Duration::from_secs(86_400);
/// The most clients, and the most keys of one: a few are in use, and as many are about to be.
pub const MAX_CLIENTS: usize = 10_000;
pub const MAX_CLIENT_KEYS: usize = 32;
/// The longest key set.
pub const MAX_KEY_SET_BYTES: usize = 64 << 10;
/// How long a key set that was fetched counts: what a client has taken out of it is refused no later. And how soon it is fetched
/// again for a key that is not in it: else a stranger could make this server send as many requests as he does.
pub const KEY_SET_FRESH: Duration = Duration::from_secs(300);
pub const KEY_SET_PAUSE: Duration = Duration::from_secs(15);
/// The longest life of a token minted at the machine.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Leaves that the sequencer takes at a time: bounds its transaction.
pub const MAX_LEAVES: usize = 10_000;
/// Data keys held unwrapped in memory.
pub const MAX_CACHED_KEYS: usize = 10_000;
/// The longest chain of a search, `a.b.c`, `_has` in `_has`: each link is a search of its own.
pub const MAX_CHAIN_DEPTH: usize = 4;
/// The most resources that a chain or `_has` may find on its way: each of them becomes a value of the search proper.
pub const MAX_CHAINED: usize = 10_000;
/// The most resources that `_include` and `_revinclude` add to a page.
pub const MAX_INCLUDED: usize = 1_000;
/// The most resources that a search sorts: their keys are read from the opened resources.
pub const MAX_SORTED: usize = 20_000;
/// The most resources that one request opens to find those that fit: some seconds of work. Then a page ends early, and what
/// needs all of them is refused.
pub const MAX_OPENED: usize = 50_000;
/// How long a search may take: an attentive client has given up by then.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How far matches are counted that the index tells exactly, and how many are opened for a total that it does not, unless
/// `_total=accurate` asks for more.
pub const MAX_CHEAP_TOTAL: usize = 100_000;
pub const MAX_OPENED_FOR_TOTAL: usize = 1_000;
/// How many rows the index may propose for a condition: it is to name one resource, and the exact test opens each.
pub const MAX_CONDITION_MATCHES: usize = 1_000;
/// The same for all conditions of one transaction together: the other senders wait for it.
pub const MAX_CONDITIONS_MATCHES: usize = 50_000;
/// Bytes that the operations of one patch walk over, each the whole resource: others wait while it is applied.
pub const MAX_PATCH_WORK: usize = 256 << 20;
/// How many patients one of `$match`'s blocks may bring to the comparison: a block that finds more tells too little.
pub const MAX_BLOCK: usize = 500;
/// Answers of `$match` unless `count` asks otherwise.
pub const DEFAULT_MATCHES: usize = 20;
/// The most resources that a patient summary or report looks at and keeps: more of one patient is no summary.
pub const MAX_SUMMARISED: usize = 20_000;
/// Rows of one file of an export: a download that broke off begins anew at its file.
pub const EXPORT_FILE_ROWS: usize = 20_000;
/// Rows of an export that are in memory together, opened.
pub const EXPORT_PAGE: usize = 64;
/// Entries of one Bundle of deletions in an export.
pub const EXPORT_DELETIONS: usize = 500;
/// Files of exports that are sent at the same time: each keeps a page in memory and the disk busy.
pub const MAX_EXPORT_STREAMS: usize = 16;
/// How long a client may take to accept the next page of a file.
pub const EXPORT_STALL: Duration = Duration::from_secs(60);
/// Exports that one client may have: what it no longer needs it deletes.
pub const MAX_EXPORTS: usize = 32;
/// How long an export can be fetched.
pub const EXPORT_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Subscriptions that are on: each is held against what is committed.
pub const MAX_SUBSCRIPTIONS: usize = 1_000;
/// Subscriptions of one transaction: the names of their endpoints are resolved together, before anything is committed.
pub const MAX_SUBSCRIPTIONS_AT_ONCE: usize = 50;
/// Headers that a Subscription may set.
pub const MAX_SUBSCRIPTION_HEADERS: usize = 20;
/// Seconds between heartbeats: sooner is noise, later is no sign of life.
pub const MIN_HEARTBEAT: u32 = 1;
pub const MAX_HEARTBEAT: u32 = 7 * 24 * 3600;
/// Committed rows that the follower of subscriptions takes at a time, and how long it waits after a failure.
pub const FOLLOWED_AT_ONCE: usize = 256;
pub const FOLLOW_RETRY: Duration = Duration::from_secs(5);
/// Notifications under way at the same time, one a subscription.
pub const MAX_DELIVERIES: usize = 64;
/// The pause after the first failure; it doubles up to the last one.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
pub const LAST_RETRY: Duration = Duration::from_secs(600);
/// After so many failures in a row a Subscription says `error`; it goes on.
pub const TELL_FAILURES: u32 = 5;
/// After failing for so long it is turned off.
pub const GIVE_UP: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sent events of a subscription that `$events` can still tell.
pub const KEPT_EVENTS: u64 = 1_000;
/// How long a request of ours may take to find and reach its receiver, and in all.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const OUTGOING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a witness may take: it checks a proof and signs. The others' cosignatures wait no longer for it.
pub const WITNESS_PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer to a request of ours that is read.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The members of a group that one export takes, and how many of them are looked for together.
pub const MAX_GROUP_MEMBERS: usize = 100_000;
pub const MEMBERS_AT_ONCE: usize = 64;
/// How long it is believed without asking the index again that a token was not revoked: what is revoked on another replica is
/// refused here no later. And how long within one request, which asked when it began: the longest bodies and batches.
pub const STANDING_FRESH: Duration = Duration::from_secs(5);
pub const STANDING_BELIEVED: Duration = Duration::from_secs(120);
/// Tokens that are known to be good without checking their signature again.
pub const MAX_REMEMBERED_TOKENS: usize = 10_000;
/// Messages in quarantine that are counted for metrics: more are more than anybody looks through.
pub const MAX_COUNTED_HELD: usize = 10_000;
/// Root keys of a key service that are read at the start: a rotation a month for eighty years.
pub const MAX_ROOTS: usize = 1_000;
/// How long an open key may outlive its time in memory.
pub const KEY_TIDY: Duration = Duration::from_secs(30);
/// How long accesses gather before they are told: a chart is read in less.
pub const AUDIT_WINDOW: Duration = Duration::from_secs(1);
/// Events that wait to be committed: some seconds of a busy server's. Then readers wait.
pub const MAX_AUDIT_WAITING: usize = 20_000;
/// Events that are committed at once, beside what else is.
pub const MAX_AUDIT_AT_ONCE: usize = 500;
/// How much one event tells of, in resources: more makes it a burden to read.
pub const MAX_AUDIT_ENTITIES: usize = 200;
/// Provisions that one request tells of, for each patient: one or two decide, and who writes hundreds must not fill the trail.
pub const MAX_AUDIT_REASONS: usize = 20;
/// How long a reader waits for room for what is to be told of him.
pub const AUDIT_PATIENCE: Duration = Duration::from_secs(10);
/// How long an emergency counts at most: half a shift. Who needs longer declares anew, and is seen to.
pub const EMERGENCY_LIFE: Duration = Duration::from_secs(4 * 3_600);
/// Emergencies of one person that count at a time: a bus crash; a walk through the register would be more.
pub const MAX_EMERGENCIES: usize = 10;
/// Emergencies that one person declares within the time for which one counts, ended or not: each shows a whole record, however soon
/// it is ended.
pub const MAX_EMERGENCIES_BEGUN: usize = 30;
/// The longest role and the longest reason, in bytes: a line, and a paragraph.
pub const MAX_EMERGENCY_ROLE: usize = 200;
pub const MAX_EMERGENCY_REASON: usize = 2_000;
/// How long a signed request of another organisation holds: clocks differ, and the network is slow.
pub const EXCHANGE_LIFE: Duration = Duration::from_secs(60);
/// How long it is remembered that a request's sender was proved, until its body is read: then it is proved anew. And how many such
/// requests are remembered: as many bodies are not read at the same time.
pub const PROOF_LIFE: Duration = Duration::from_secs(30);
pub const MAX_PROVED: usize = 1_000;
/// How often in a second the chain is asked about who is not known here, or signs with a key that is not: anybody may knock, and a proof
/// costs each node some requests.
pub const STRANGERS_PER_SECOND: u32 = 5;
/// How long another organisation may take to answer: it opens a record and proves each resource.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(45);
/// The longest parcel of resources and receipts: what one request may bear.
pub const MAX_PARCEL_BYTES: usize = 24 << 20;
/// The most resources of one parcel.
pub const MAX_PARCEL_ITEMS: usize = 5_000;
/// The most anchors of one parcel: for each of them nodes are asked for a block. All receipts of one sender that are made at one time
/// lead to his newest anchor.
pub const MAX_PARCEL_ANCHORS: usize = 64;
/// The longest `Type/id/_history/n`, with ids of R4's 64 characters.
pub const MAX_PLACE: usize = 160;
/// The most queries of one pull, and the most organisations that are asked at once.
pub const MAX_PULL_QUERIES: usize = 20;
pub const MAX_PULL_PARTNERS: usize = 50;
/// The most participants that a list looks at: each is a proof of its own.
pub const MAX_PARTICIPANTS: usize = 1_000;
/// Words that participants have put on the chain, as far as they are kept: anybody may apply, again and again, for the price of gas.
pub const MAX_TOLD: usize = 20_000;
/// How long a look at another organisation's record lasts.
pub const VIEW_LIFE: Duration = Duration::from_secs(600);
/// Attachments of one document whose content goes along with it: a letter has one, in some forms at most.
pub const MAX_CONTENTS: usize = 20;
/// The most HL7 v2 messages that one push becomes: a visit, an appointment each. A life's visits to one hospital stay below.
pub const MAX_LETTERS: usize = 1_000;
/// The most that is told of what HL7 v2 does not carry: paths of a record's types repeat themselves.
pub const MAX_UNCARRIED: usize = 100;
/// Pushes that wait, of all receivers together.
pub const MAX_PUSHES: usize = 10_000;
/// Those of them that rules have made, of all rules together: a receiver that is dead for long leaves room for the others. Each rule has its
/// equal part.
pub const MAX_RULED: usize = MAX_PUSHES / 2;
/// Requests of people who are signing in that are looked at together: each is a signature and a transaction, and anybody may send them.
pub const MAX_SIGN_INS: usize = 16;
/// Apps that register themselves at once: a name that they give is looked up for each, for seconds where its server does not answer, and
/// that must hold nobody up but other apps.
pub const MAX_REGISTERING: usize = 4;
/// Revocation codes that are looked at together: anybody may send them, and who has one must not wait for those who sign in.
pub const MAX_WITHDRAWING: usize = 8;
/// The most Consents of one patient that speak to others: each is weighed before anything of his is shown.
pub const MAX_CONSENTS: usize = 1_000;
/// The most of his that are read for that. Those that let an app in speak of that alone, and one is signed for each session: years of them.
pub const MAX_CONSENTS_READ: usize = 10 * MAX_CONSENTS;
/// A file of a house's own sensitive codes, in bytes: some twenty thousand of them.
pub const MAX_LABELS_BYTES: u64 = 1 << 20;
/// Patients whose Consents are remembered, some kilobytes each.
pub const MAX_REMEMBERED_CONSENTS: usize = 10_000;
/// All that somebody is at once, where it is asked why he would be shown something.
pub const MAX_ACTORS: usize = 10;
/// References of one resource that are followed to tell whose it is: most have a few.
pub const MAX_FOLLOWED: usize = 20;
/// Records that were merged with one patient's: each is read before anything of his is shown.
pub const MAX_MERGED: usize = 20;
/// How long Consents are believed without asking whether their patient was merged with another.
pub const MERGES_FRESH: Duration = Duration::from_secs(5);
/// Traces that wait for their anchor: some kilobytes each.
pub const MAX_TRACED: usize = 2_000;
/// Open connections to the address of `/metrics`: a few who monitor.
pub const MAX_METRICS_CONNECTIONS: usize = 8;
/// How long a patient may look at the terms of a grant before they are signed.
pub const GRANT_DRAFT_LIFE: Duration = Duration::from_secs(15 * 60);
/// After how long a grant, or what revokes one, is sent to the registry again: a block comes within some minutes even on a busy chain.
pub const GRANT_RESEND: Duration = Duration::from_secs(600);
/// How far back a replica looks for what others have revoked: further than clocks differ.
pub const GRANT_OVERLAP: Duration = Duration::from_secs(600);
/// Consents whose status follows their grant in one round.
pub const GRANTS_CLOSED_AT_ONCE: usize = 100;
/// The stack of a thread that answers requests. From a route to the last Consent many steps lie on each other, and without optimisation
/// each is large: the usual 2 MiB were too few for a test.
pub const STACK_BYTES: usize = 8 << 20;
