#!/usr/bin/env python3
"""How much of other converters' FHIR do our Bundles hold?  A semantic comparison, by resource and by leaf.

usage: recall.py [--corpora DIR] [--tool medseal-map] [--maps DIR] [--repo WORD] [--type ADT[_A01]] [--file WORD]
                 [--explained FILE] [--misses [N]] [--elsewhere] [--converted] [--stale]

DIR has corpora and an index.jsonl that names for each message `repo`, `file`, `idx` (which message of the file) and
`expected`: Bundles that another converter made of it. Each message is converted with medseal-map, and compared:

* An expected resource is paired with one of ours of its type by the leaves they share; rare leaves count more. Several
  people, places, organisations (SHARED) may be one of ours: converters differ in how often they repeat them. Elements
  that repeat are paired in the same way: a `use` counts only beside its own `value`.
* A reference is compared by what it refers to: the resource that its target was paired with, or one much like it.
* `found`: the leaf is in its pair, at the same path or at a place that EQUIVALENT declares to be the same.
  `elsewhere`: the same path and value, but in another repetition or another resource of that type. Not counted as found.
  `explained`: a line of --explained says why it is not there. All the rest is `unexplained`.
* Left out of theirs: a resource that nothing but an IGNORED extension refers to, as it is a part of that extension.
* Left out on both sides: ids, order, meta but for tag and security, narrative, Bundle.type, a `display`
  that repeats the code, and what IGNORED lists.

A line of --explained is tab-separated: repository (or *, or `repository TYPE` for messages of one type), resource type (or
`Type:label`, both globs; the label is what a reference to it shows), path glob, value regex (or *), verdict, reason; the first that
fits is taken. With * for path and value it speaks of a whole resource, and only where ours has none to pair with it. The verdicts: guide,
HL7's guide says otherwise; own, the guide has no map of that message and ours follows the rows of a like one; theirs; extension; todo. `todo` explains nothing, it only stands in the list of misses. The two percentages are found / all and
found / (all - explained). Messages that are not converted count as missing.
"""
import argparse
import collections
import datetime
import decimal
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

# What only one engine knows: (end of the name of the element, regex of its value or of the url, reason).
IGNORED = [
    ("xtension", r"https://reportstream\.cdc\.gov/.*", "ReportStream's own, to make HL7 v2 again out of the FHIR"),
    ("xtension", r"[A-Z]{2,3}\.\d+", "ReportStream's parts of such an extension"),
    ("xtension", r"http://example\.com/v2-to-fhir-converter/.*", "Microsoft's own, under a made-up address"),
    ("tag", r".*SUBSETTED.*", "the mark of the server that HL7's Bundle was read from"),
    ("system", r"http://example\.com/v2-to-fhir-converter/.*", "Microsoft's made-up address before the v2 name"),
]
# Messages that an expected Bundle was not made of: (file, idx): reason.
NOT_OF_THIS = {("valid_mars.hl7", 0): "the Bundle has the time zones of the second message of that file"}
ZONE = "UTC"  # of times without one
SHARED = {"Practitioner", "PractitionerRole", "Organization", "Location", "Device"}  # several may be one of ours
# Ends of paths that say the same, either way round, and why.
EQUIVALENT = [
    ("DateTime", "Period.start", "only the start is known"),
    ("valueInteger", "valueQuantity.value", "a number"),
    ("valueString", "valueQuantity.value", "a number, sent as a text"),
    ("valueString", "valueCodeableConcept.text", "a text"),
    ("valueCode", "valueCoding.code", "a code"),
    ("valueCoding.code", "valueCodeableConcept.coding.code", "a code"),
    ("valueCoding.system", "valueCodeableConcept.coding.system", "a code"),
    ("valueCoding.display", "valueCodeableConcept.coding.display", "a code"),
    (".coding.display", ".text", "what the code is called"),
    ("Quantity.code", "Quantity.unit", "a unit that is no UCUM has no code"),
]
# What tells a person, a place or an organisation from others: without one of these in common they are not a pair.
TELLING = ["identifier.value", "name.family", "name", "name.text", "practitioner.reference", "description",
           "deviceName.name", "organization.reference", "location.reference", "name.given"]
# Where to look for a name to show for a resource.
LABELS = TELLING + ["code.coding.code", "activity.coding.code", "activity.coding.display", "code.coding.display",
                    "code.text", "type.coding.code", "status"]
STRONG = {"value", "code", "reference", "family", "text", "line"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


class Ref(str):
    """A reference: the name of the resource it refers to."""


def value(v):
    """One spelling for one value: instants in UTC, numbers without trailing zeros, OIDs without scheme, one apostrophe."""
    v = str(v).lower() if isinstance(v, bool) else v
    text = re.sub(r"^urn:(oid|uuid):", "", str(v).strip()).replace("’", "'")
    if INSTANT.fullmatch(text):
        try:
            whole = re.sub(r"(\.\d{1,6})\d*", lambda m: m[1].ljust(7, "0"), text.replace("Z", "+00:00"))
            time = datetime.datetime.fromisoformat(whole).astimezone(datetime.timezone.utc)
            return time.isoformat().replace("+00:00", "Z").replace(".000000", "")
        except (ValueError, OverflowError):
            return text
    return format(decimal.Decimal(text).normalize(), "f") if re.fullmatch(r"[+-]?\d+\.\d+", text) else text


def tree(x):
    """An element as {name: [value or element]}: extensions by their url, what is left out taken away."""
    node = collections.defaultdict(list)
    for key, many in x.items():
        for one in many if isinstance(many, list) else [many]:
            text = str(one.get("url")) if key.endswith("xtension") else str(one)
            if any(key.endswith(name) and re.fullmatch(rule, text) for name, rule, _ in IGNORED):
                continue
            if key in ("id", "resourceType") or one in (None, "") or key == "text" and isinstance(one, dict):
                continue
            if key == "meta":
                one = {k: v for k, v in one.items() if k in ("tag", "security")}
            if key.endswith("xtension"):
                node[f"extension({text.rsplit('/', 1)[-1]})"].append(tree({**one, "url": None}))
            elif isinstance(one, dict):
                node[key].append(tree(one))
            elif key == "reference":
                node[key].append(Ref(one))
            else:
                node[key].append(value(one))
    if node["display"] == node["code"]:  # says nothing
        del node["display"]
    return {k: [v for v in vs if v] for k, vs in node.items() if any(vs)}


def referred(x):
    """All references in a resource, those of ignored extensions too."""
    for key, one in x.items() if isinstance(x, dict) else enumerate(x if isinstance(x, list) else []):
        if key == "reference" and isinstance(one, str):
            yield one
        yield from referred(one)


def flat(node, path=""):
    """All (path, value) leaves of an element."""
    for key, many in node.items():
        for one in many:
            here = f"{path}.{key}" if path else key
            if isinstance(one, dict):
                yield from flat(one, here)
            else:
                yield here, one


class Bundle:
    """The resources of a Bundle, in order; the Bundle itself is one of them."""

    def __init__(self, bundle):
        found = [("Bundle", {k: bundle[k] for k in ("identifier", "timestamp") if k in bundle}, ["Bundle"])]
        entries = bundle.get("entry", [])
        for entry in entries if isinstance(entries, list) else [entries]:
            r = entry["resource"]
            found.append((r["resourceType"], r, [entry.get("fullUrl", ""), f"{r['resourceType']}/{r.get('id')}"]))
        trees = [tree(body) for _, body, _ in found]
        found, trees = zip(*self.of_all(found, trees))
        self.types = [kind for kind, _, _ in found]
        self.trees = list(trees)
        self.leaves = [list(flat(t)) for t in self.trees]
        self.names = {name: number for number, (_, _, names) in reversed(list(enumerate(found))) for name in names}

    @staticmethod
    def of_all(found, trees):
        """Without the resources that only ignored extensions refer to, and those that only these refer to."""
        works = list(zip(found, trees))
        raw = {name for _, body, _ in found for name in referred(body)}
        while True:
            seen = {v for _, t in works for _, v in flat(t) if isinstance(v, Ref)}
            kept = [w for w in works if not raw.intersection(w[0][2]) or seen.intersection(w[0][2])]
            if len(kept) == len(works):
                return kept
            works = kept

    def show(self, v):
        """A value for people: a reference by the type and a telling leaf of what it refers to."""
        if not isinstance(v, Ref):
            return v
        if v not in self.names:
            return f"-> {v.split('/')[0]} (not in the Bundle)"
        return f"-> {self.types[self.names[v]]} {self.label(self.names[v])}"

    def label(self, number):
        got = dict(reversed(self.leaves[number]))
        return next((self.show(got[name])[:60] for name in LABELS if name in got), "?")


class Comparison:
    """An expected Bundle against ours."""

    def __init__(self, theirs, ours):
        self.theirs, self.ours = theirs, ours
        self.pools = [collections.Counter(leaf for leaf in ls if not isinstance(leaf[1], Ref)) for ls in ours.leaves]
        self.pool = collections.Counter((t, p, v) for t, ls in zip(ours.types, self.pools) for p, v in ls)
        self.pair = {}
        for _ in range(3):  # references count once their targets are paired
            self.pair = self.paired()

    def paired(self):
        """Their resource -> ours: the best of each type, the best pairs first."""
        both = ((i, j) for i, kind in enumerate(self.theirs.types) for j, own in enumerate(self.ours.types) if kind == own)
        pair, taken = {}, set()
        for score, i, j in sorted((-self.overlap(i, j), i, j) for i, j in both):
            shared = self.theirs.types[i] in SHARED
            if i not in pair and (score < 0 if shared else j not in taken):
                pair[i] = j
                taken.add(j)
        return pair

    def overlap(self, i, j):
        """What two resources share; a leaf weighs less the more of ours have it."""
        kind, left, score, telling = self.ours.types[j], dict(self.pools[j]), 0.0, False
        refs = [(p, v) for p, v in self.ours.leaves[j] if isinstance(v, Ref)]
        for path, v in self.theirs.leaves[i]:
            if isinstance(v, Ref):
                hit = next((r for r in refs if r[0] == path and self.same_target(v, r[1])), None)
                if hit:
                    refs.remove(hit)
                    score += 1 if self.is_pair(v, hit[1]) else 0.5
            elif left.get((path, v), 0) > 0:
                left[(path, v)] -= 1
                score += 1 / self.pool[(kind, path, v)]
            else:
                continue
            telling = telling or path in TELLING
        if kind in SHARED and not telling and any(p in TELLING for p, _ in self.theirs.leaves[i]):
            return 0.0
        return round(score, 6)

    def is_pair(self, theirs, ours):
        return self.pair.get(self.theirs.names.get(theirs)) == self.ours.names.get(ours)

    def same_target(self, theirs, ours):
        """Do these references speak of the same resource?"""
        i, j = self.theirs.names.get(theirs), self.ours.names.get(ours)
        if i is None or j is None or self.pair.get(i) == j:
            return self.pair.get(i) == j
        if self.theirs.types[i] != self.ours.types[j]:
            return False
        want = [leaf for leaf in self.theirs.leaves[i] if not isinstance(leaf[1], Ref)]
        have = set(self.ours.leaves[j])
        return bool(want) and sum(leaf in have for leaf in want) * 2 > len(want)

    def shared(self, a, b):
        """How much the elements have in common; what says most counts most."""
        if isinstance(a, dict) and isinstance(b, dict):
            return sum(n * (4 if key in STRONG else 1) for key in a if key in b for n, _, _ in self.matched(a[key], b[key]))
        return int(self.same_target(a, b) if isinstance(a, Ref) and isinstance(b, Ref) else a == b)

    def matched(self, many, others):
        """Pairs of elements that repeat, the most alike first: (what they share, theirs, ours)."""
        out = []
        for n, _, x, y in sorted((-self.shared(a, b), abs(x - y), x, y)
                                 for x, a in enumerate(many) for y, b in enumerate(others)):
            if n and not any(x == p or y == q for _, p, q in out):
                out.append((-n, x, y))
        return out

    def missing(self, a, b, path=""):
        """The leaves of `a` that `b` has not."""
        for key, many in a.items():
            here = f"{path}.{key}" if path else key
            others = b.get(key, [])
            at = {x: y for _, x, y in self.matched(many, others)}
            for x, one in enumerate(many):
                if isinstance(one, dict):
                    yield from self.missing(one, others[at[x]] if x in at else {}, here)
                elif x not in at:
                    yield here, one

    def equivalent(self, j, path, v):
        """Has our resource that value at another place that says the same?"""
        pairs = [pair for a, b, _ in EQUIVALENT for pair in ((a, b), (b, a))]
        return j is not None and any(
            path.endswith(a) and (path.removesuffix(a) + b, v) in self.pools[j] for a, b in pairs)

    def results(self):
        """(resource type, label, path, value, verdict, what we have) for each leaf of theirs."""
        for i, kind in enumerate(self.theirs.types):
            j = self.pair.get(i)
            ours = {} if j is None else self.ours.trees[j]
            lost = collections.Counter(self.missing(self.theirs.trees[i], ours))
            for path, v in self.theirs.leaves[i]:
                verdict = "found"
                if lost[(path, v)]:
                    lost[(path, v)] -= 1
                    if not self.equivalent(j, path, v):
                        verdict = "elsewhere" if self.pool[(kind, path, v)] else "missing"
                have = "" if verdict == "found" else self.have(j, path, v)
                yield kind, self.theirs.label(i), path, self.theirs.show(v), verdict, have

    def have(self, j, path, v):
        """What we have there, and where else we have that value."""
        near = [self.ours.show(w) for p, w in self.ours.leaves[j] if p == path] if j is not None else ["no such resource"]
        here = " | ".join(near[:4]) or "nothing there"
        places = {f"{t}.{p}" for t, ls in zip(self.ours.types, self.ours.leaves) for p, w in ls if w == v}
        if isinstance(v, Ref) or len(v) < 3 or not places:
            return here
        return f"{here}   [value at: {', '.join(sorted(places)[:3])}]"


def read_xml(e):
    """An element of FHIR XML as the JSON would be, save that every value is a text and a list of one is its element."""
    node = collections.defaultdict(list)
    if "url" in e.attrib:
        node["url"].append(e.attrib["url"])
    for child in e:
        name = child.tag.split("}")[-1]
        if name in ("resource", "contained"):
            node[name].append(dict(read_xml(child[0]), resourceType=child[0].tag.split("}")[-1]))
        elif "value" in child.attrib:
            node[name].append(child.attrib["value"])
        elif [c.tag.split("}")[-1] for c in child] == ["extension"] and name != "extension":
            node["_" + name].append(read_xml(child))
        elif name != "div":
            node[name].append(read_xml(child))
    return {k: v[0] if len(v) == 1 else v for k, v in node.items()}


def read_bundle(path):
    with open(path, encoding="utf-8-sig") as f:
        text = f.read()
    return Bundle(read_xml(xml.fromstring(text)) if text.lstrip().startswith("<") else json.loads(text))


def cases(options):
    """(line of the index, path of the expected Bundle) for each message that has one."""
    with open(os.path.join(options.corpora, "index.jsonl"), encoding="utf-8") as f:
        for line in f:
            r = json.loads(line)
            kind = f"{r['type']}_{r['trigger']}"
            good = [e for e in r["expected"] if e.endswith((".json", ".fhir")) and not e.endswith(".input.json")]
            wanted = options.repo in r["repo"] and options.file in r["file"] and kind.startswith(options.type)
            if good and wanted and (os.path.basename(r["file"]), r["idx"]) not in NOT_OF_THIS:
                yield r, os.path.join(options.corpora, r["repo"], good[0])


def convert(r, options):
    """(Bundle, "") or (None, why not)."""
    with open(os.path.join(options.corpora, r["repo"], r["file"]), "rb") as f:
        messages = re.findall(rb"MSH.*?(?=[\r\n]+MSH|\Z)", f.read(), re.S)
    with tempfile.NamedTemporaryFile(suffix=".hl7") as f:
        f.write(messages[r["idx"]])
        f.flush()
        maps = ["--maps", options.maps] if options.maps else []
        command = [options.tool, *maps, "--zone", ZONE, f.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout.startswith("{"):
        return Bundle(json.loads(done.stdout)), ""
    return None, (done.stderr.strip().split(": ", 1)[-1].splitlines() or ["no output"])[0]


VERDICTS = ("guide", "own", "theirs", "extension", "todo")


def read_explained(path):
    rows = []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if line.startswith("#") or not line.strip():
                continue
            cells = line.rstrip("\n").split("\t")
            if len(cells) != 6 or cells[4] not in VERDICTS:
                sys.exit(f"{path}:{number}: six cells are wanted, the fifth one of {', '.join(VERDICTS)}")
            rows.append((number, *cells))
    return rows


def explain(rows, repo, message, kind, label, path, v, alone):
    def fits(where, whose, glob, rule):
        if (glob, rule) == ("*", "*") and not alone:
            return False
        name = f"{kind}:{label}" if ":" in whose else kind
        return where in ("*", repo, f"{repo} {message}") and fnmatch.fnmatchcase(name, whose) and fnmatch.fnmatchcase(path, glob) \
            and (rule == "*" or re.fullmatch(rule, v, re.S))
    return next((row for row in rows if fits(*row[1:5])), None)


def table(title, counts):
    print(f"{title:34}{'leaves':>8}{'found':>8}{'else':>7}{'expl.':>7}{'unexpl.':>8}{'of all':>8}{'of rest':>8}")
    for name, c in sorted(counts.items()):
        n = sum(c.values())
        rest = n - c["explained"]
        print(f"{name:34}{n:8}{c['found']:8}{c['elsewhere']:7}{c['explained']:7}{c['missing']:8}"
              f"{100 * c['found'] / n:7.1f}%{100 * c['found'] / rest if rest else 100:7.1f}%")
    print()


def options_of_the_line():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = pathlib.Path(__file__).resolve().parents[2]
    p.add_argument("--corpora", default=here.parent / "shared/corpora/hl7v2", help="default: beside the repository")
    p.add_argument("--tool", default=here / "target/release/medseal-map", help="default: the release build")
    p.add_argument("--maps", help="a directory of maps instead of those built in")
    p.add_argument("--explained", help="a file that says of missing leaves why they are missing")
    p.add_argument("--misses", nargs="?", type=int, const=100000, default=0, help="the largest groups of missing leaves")
    for name in ("repo", "type", "file"):
        p.add_argument(f"--{name}", default="", help=f"only messages whose {name} has this")
    for name, text in (("elsewhere", "with --misses: those found elsewhere too"),
                       ("converted", "leave out the messages that are not converted"),
                       ("stale", "the lines of --explained that explain nothing")):
        p.add_argument(f"--{name}", action="store_true", help=text)
    return p.parse_args()


def main():
    options = options_of_the_line()
    rows = read_explained(options.explained) if options.explained else []
    by = {name: collections.defaultdict(collections.Counter) for name in ("repository", "resource", "message", "total")}
    groups, refused, used, verdicts = collections.defaultdict(list), collections.Counter(), set(), collections.Counter()
    for r, expected in cases(options):
        ours, why = convert(r, options)
        refused[why] += ours is None
        if ours is None and options.converted:
            continue
        where = os.path.basename(r["file"]) + (f"#{r['idx']}" if r["idx"] else "")
        for kind, label, path, v, verdict, have in Comparison(read_bundle(expected), ours or Bundle({})).results():
            row = explain(rows, r["repo"], r["type"], kind, label, path, v, have.startswith("no such resource")) if verdict != "found" else None
            if row:
                used.add(row[0])
                verdicts[row[5]] += 1
                have += f"   {row[5]}: {row[6]}"
                verdict = verdict if row[5] == "todo" else "explained"
            for name, key in (("repository", r["repo"]), ("resource", kind), ("message", r["type"]), ("total", "all")):
                by[name][key][verdict] += 1
            if verdict == "missing" or verdict == "elsewhere" and options.elsewhere:
                groups[(r["repo"], kind, path)].append((where, v, have))
    for name in by:
        table(name, by[name])
    print("verdicts:", dict(sorted(verdicts.items())))
    for why, n in sorted((+refused).items(), key=lambda x: (-x[1], x[0])):
        print(f"not converted, {n} messages: {why}")
    for (repo, kind, path), found in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))[:options.misses]:
        where, v, have = found[0]
        print(f"{len(found):5}x {repo.split('__')[0]:12} {kind}.{path}  ({len({f[0] for f in found})} messages)")
        print(f"       {where}: expected {v[:150]!r}, we have {have[:300]}")
    for row in rows:
        if options.stale and row[0] not in used:
            print(f"stale, line {row[0]}: {row[1:5]}")


if __name__ == "__main__":
    main()
