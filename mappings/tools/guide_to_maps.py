#!/usr/bin/env python3
"""Carries rows of HL7's v2-to-FHIR guide (CSV, CC0) over into medseal's map format, as a starting point.

The files under mappings/maps are corrected by hand afterwards: the guide is not always valid R4, and leaves
choices open. This tool therefore prints to a scratch folder and never into mappings/maps.

    guide_to_maps.py print GUIDE SCRATCH NAME...   PID[Patient] CX[Identifier] table:AdministrativeSex ADT_A01
    guide_to_maps.py check GUIDE MAPS              what the maps leave out or change without saying why

GUIDE is the folder with messages, segments, datatypes and codesystems. `check` ends with the number of rows
that each map carries, and fails where a difference has no `because`. Python 3 and, to read maps, PyYAML.
"""

import csv
import functools
import json
import pathlib
import re
import sys

# Where the guide's file is named otherwise than its segments call the table.
TABLE_FILES = {
    "Yes/NoIndicator": "YesNoIndicator",
    "Yes/NoIndicator[AvailabilityStatus]": "YesNoIndicator[AvailabilityStatus]",
    "Additive/Preservative": "AdditivePreservative",
    "Test/ServiceDefaultDurationUnits": "TestServiceDefaultDurationUnits",
}
# Datatype maps that are nothing but the conversion to the target's primitive type.
PLAIN = {"cwe[code]", "id[code]", "id[string]", "id[boolean]", "dtm[datetime]", "ts[datetime]", "nm[positiveint]",
         "is[code]", "st[codeableconcept]"}
KEYS = ["row", "from", "when", "to", "with", "table", "value", "eval", "off", "because"]
TABLE_KEYS = ["from", "to", "display", "system", "because"]


def read(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return [[" ".join(cell.split()) for cell in row] + [""] * 20 for row in csv.reader(file)]


def find(guide, kind, name):
    """The CSV of a map: each file name holds the map's name before ` - `."""
    wanted = f"_ {name} - "
    hits = [p for p in sorted((guide / kind).glob("*.csv")) if wanted in p.name]
    return hits[0] if hits else None


def numbered(rows, name):
    """Row ids: the field, and /n for the n-th row of that field."""
    seen = {}
    for row in rows:
        field = row[1] or name
        seen[field] = seen.get(field, 0) + 1
        yield (field if seen[field] == 1 else f"{field}/{seen[field]}"), row


def condition(text):
    """The guide's condition made to fit medseal's language; None where a person has to."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"^IF\b:? *|\bIF +", "", text, flags=re.I)
    text = re.sub(r"\bIS NOT VALUED\b", "NOT VALUED", text, flags=re.I)
    text = re.sub(r"\bIS VALUED\b", "VALUED", text, flags=re.I)
    text = re.sub(r"\bIS NOT IN\b", "NOT IN", text, flags=re.I)
    text = re.sub(r"\bIS IN\b", "IN", text, flags=re.I)
    text = re.sub(r"\bIS NOT (?=\")", "NOT EQUALS ", text, flags=re.I)
    text = re.sub(r"\bIS (?=\")", "EQUALS ", text, flags=re.I)
    text = re.sub(r"(?<![<>]) ?= ?(?=\")", " EQUALS ", text)
    text = re.sub(r"\bLST\.count\b", "LST.COUNT", text, flags=re.I)
    text = re.sub(r"\bVALUE\b", "VALUED", text)
    text = re.sub(r"\b(HD|CX|XCN|XON|PL)-(\d)", r"\1.\2", text)
    return text or None


def target(text):
    """The guide's path: $value is the value itself, and a label before the first name is the map's own."""
    text = text.replace("$value", "$this").strip()
    text = re.sub(r"^\[\d+\]\.", "", text)
    text = re.sub(r"^Quantity\.", "", text)
    return text


def constant(text):
    """A quoted assignment is a constant; anything else is a formula or an instruction."""
    hit = re.fullmatch(r'"([^"]*)"?', text)
    return hit.group(1).strip() if hit else None


def formula(text):
    if not text or constant(text) is not None or text.startswith("/"):
        return None
    parts = [part.strip() for part in re.split(r"\+(?![^\"]*\"(?:[^\"]*\"[^\"]*\")*[^\"]*$)", text)]
    return f"concat({', '.join(parts)})"


@functools.cache
def spelling(guide, kind):
    """How the guide's files spell a name, by what is left of it without case, spaces and slashes. Segments spell
    fifteen datatype maps and five tables otherwise; ours have the files' spelling, with the standard's slashes."""
    tables = {file: name for name, file in TABLE_FILES.items()}
    return {folded(name): tables.get(name, name) for name in names(guide, kind)}


def folded(name):
    return re.sub(r"[\s/]", "", name).lower()


def rules(path, name):
    """The rows of a segment's or datatype's map that fill something."""
    source = name.split("[")[0]
    maps, tables = (spelling(path.parent.parent, kind) for kind in ("datatypes", "codesystems"))
    for row_id, row in numbered(read(path)[2:], source):
        if source not in ("CWE",) and row_id.startswith("CWE.") and name.startswith("CF["):
            row_id = row_id.replace("CWE.", "CF.")
        if not row[9]:
            continue
        rule = {"row": row_id, "when": condition(row[6]), "to": target(row[9])}
        if row[14] and row[14].lower() not in PLAIN:
            rule["with"] = maps.get(folded(row[14]), row[14])
        if row[15]:
            rule["table"] = tables.get(folded(row[15]), row[15])
        if (value := constant(row[16])) is not None:
            rule["value"] = value
        elif function := formula(row[16]):
            rule["eval"] = function
        notes = "; ".join(filter(None, [row[8], row[16] if row[16].startswith("/") else ""]))
        yield {k: v for k, v in rule.items() if v}, notes


def message_rules(path, name):
    for row_id, row in numbered(read(path)[2:], name):
        row_id = re.sub(r"^(/?)ADT_A\w+[.:]|^ORU_R01\.", "", row_id).replace("follow:", "")
        if row[10]:
            yield {"row": row_id, "when": condition(row[6]), "to": row[9], "with": row[10]}, row[11]


def table_columns(header):
    """Where the FHIR code, its display and its system stand: the columns on the right differ from file to file."""
    code = header.index("Code", 1)
    system = header.index("Code System", code)
    return code, range(code + 1, system), system


def table_rows(path):
    """Rows with a code on both sides, v2 codes without a FHIR code, and FHIR codes without a v2 code."""
    lines = read(path)
    if "Code" not in lines[1][1:]:
        return [], [], []
    code_at, displays, system_at = table_columns(lines[1])
    rows, no_target, no_source = [], [], []
    for row in lines[2:]:
        code, to, system = row[0], row[code_at], row[system_at]
        display = next((row[at] for at in displays if row[at]), None)
        if to and system:
            entry = {"from": code or to, "to": to, "display": display, "system": system}
            (rows if code else no_source).append(entry)
        elif code:
            no_target.append(code)
    return rows, no_target, no_source


RESERVED = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", ""}


def scalar(value):
    """Plain where YAML cannot mistake it, else in double quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    plain = re.fullmatch(r"[A-Za-z$][A-Za-z0-9_./$ -]*", value) and not value.endswith(" ")
    # A number to some reader of YAML (1E5 begins with a digit and is quoted anyhow; Infinity does not).
    return value if plain and value.lower() not in RESERVED | {"nan", "inf", "infinity"} else json.dumps(value, ensure_ascii=False)


def flow(entry, keys):
    inner = ", ".join(f"{key}: {scalar(entry[key])}" for key in keys if entry.get(key) is not None)
    return "{" + inner + "}"


def file_name(name):
    return re.sub(r"[/\[\]]", "-", name).rstrip("-").replace(" ", "") + ".yaml"


def print_map(name, path):
    source, goal = name.split("[")[0], name.split("[")[1].rstrip("]").split("-")[0]
    lines = [f"map: {scalar(name)}", f"source: {source}", f"target: {goal}", "rules:"]
    for rule, note in rules(path, name):
        lines.append(f"  - {flow(rule, KEYS)}" + (f" # {re.sub(chr(10), ' ', note)}" if note else ""))
    return "\n".join(lines) + "\n"


TAKEN = "The guide lists FHIR codes and no v2 codes: they are taken as they are."


def print_table(name, path):
    """A table without any v2 code takes the FHIR codes as they are; else those are told of."""
    rows, no_target, no_source = table_rows(path)
    taken = bool(no_source) and not rows
    lines = []
    if no_target:
        lines.append(f"# The guide has no FHIR code for: {', '.join(no_target)}.")
    if no_source and not taken:
        lines.append(f"# The guide lists {len(no_source)} FHIR codes that no v2 code becomes.")
    lines.append(f"table: {scalar(name)}")
    if taken:
        lines.append(f"because: {scalar(TAKEN)}")
        rows = no_source
    lines += ["rows:" if rows else "rows: []"]
    lines += [f"  - {flow(row, TABLE_KEYS)}" for row in rows]
    return "\n".join(lines) + "\n"


def print_message(name, path):
    lines = [f"map: {name}", f"messages: [{name}]", "structure: [] # from the standard", "rules:"]
    for rule, refs in message_rules(path, name):
        lines.append(f"  - {flow(rule, ['row', 'when', 'to', 'with'])}" + (f" # {refs}" if refs else "").replace("\n", " "))
    return "\n".join(lines) + "\n"


def do_print(guide, scratch, names):
    if "maps" in scratch.resolve().parts[-2:]:
        sys.exit("print into a scratch folder: the maps are corrected by hand")
    for name in names:
        if name.startswith("table:"):
            name = name[6:]
            kind, path = "tables", find_table(guide, name)
            text = print_table(name, path)
        elif "[" in name:
            kind = "segments" if find(guide, "segments", name) else "datatypes"
            text = print_map(name, find(guide, kind, name))
        else:
            kind, text = "messages", print_message(name, find(guide, "messages", name))
        (scratch / kind).mkdir(parents=True, exist_ok=True)
        (scratch / kind / file_name(name)).write_text(text, encoding="utf-8")


def find_table(guide, name):
    stem = TABLE_FILES.get(name, name)
    hits = [p for p in (guide / "codesystems").glob("*.csv") if p.name == f"HL7 Concept Map_ {stem} - Sheet1.csv"]
    return hits[0] if hits else None


def same(ours, theirs):
    """Whether a rule says what the guide's row says, beyond spelling."""
    fold = lambda text: re.sub(r"[^a-z0-9$()\"<>=.]+", "", re.sub(r"\[\d+\]", "", str(text or "")).lower())
    plain = lambda rule: "" if str(rule.get("with") or "").lower() in PLAIN else rule.get("with")
    ours = dict(ours, value=str(ours["value"]) if "value" in ours else None)
    pairs = [(ours.get(k), theirs.get(k)) for k in ("when", "to", "table", "value", "eval")] + [(plain(ours), plain(theirs))]
    return all(fold(a) == fold(b) for a, b in pairs) and not ours.get("from") and not ours.get("off")


def check_map(guide, kind, data, errors):
    name = data["map"]
    path = find(guide, kind, name)
    theirs = {rule["row"]: rule for rule, _ in rules(path, name)} if path else {}
    unmapped = data.get("unmapped", {})
    ours = {}
    for rule in data.get("rules", []):
        rule["off"] = rule.pop(False, False)  # YAML 1.1 takes the key off for a boolean
        if rule["row"] in ours:
            errors.append(f"{name}/{rule['row']}: twice")
        ours[rule["row"]] = rule
        row = theirs.get(rule["row"])
        if not rule.get("because") and not (row and same(rule, row)):
            errors.append(f"{name}/{rule['row']}: differs without a reason\n    guide {row}\n    ours  {rule}")
    for row in theirs:
        # `guide: ... instead of ...` tells of rows that the map replaces as a whole.
        told = row.split("/")[0] in unmapped or " instead of " in data.get("guide", "")
        if row not in ours and not told:
            errors.append(f"{name}/{row}: left out: {theirs[row]}")
    carried = sum(1 for row in theirs if row in ours and not ours[row].get("off"))
    return carried, len(theirs), len(ours)


def check_table(guide, data, errors):
    """How many of the guide's rows stand in the table; one that differs or is missing has to be told of."""
    name = data["table"]
    path = find_table(guide, name)
    if path is None:
        return 0, 0, len(data["rows"])
    theirs, _, no_source = table_rows(path)
    theirs = theirs or no_source
    ours = {}
    for row in data["rows"]:
        if row["from"] in ours:
            errors.append(f"table {name}/{row['from']}: twice")
        ours[row["from"]] = row
    carried = 0
    for row in theirs:
        mine = ours.get(row["from"]) or ours.get(row["display"])
        carried += mine is not None
        told = data.get("because") or (mine or {}).get("because")
        if mine is None and not data.get("because"):
            errors.append(f"table {name}/{row['from']}: left out")
        elif mine and not told and {k: v for k, v in mine.items()} != {k: v for k, v in row.items() if v}:
            errors.append(f"table {name}/{row['from']}: differs without a reason\n    guide {row}\n    ours  {mine}")
    known = {row["from"] for row in theirs}
    for code, row in ours.items():
        if code not in known and not row.get("because") and not data.get("because"):
            errors.append(f"table {name}/{code}: not in the guide, without a reason")
    return carried, len(theirs), len(ours)


def names(guide, kind):
    """The names in the guide's file names."""
    return sorted(path.name.split("_ ", 1)[1].split(" - ")[0] for path in (guide / kind).glob("*.csv"))


def do_check(guide, maps):
    import yaml
    errors, total = [], [0, 0, 0]
    for kind in ("segments", "datatypes"):
        found = set()
        for path in sorted((maps / kind).glob("*.yaml")):
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            found.add(data["map"])
            counts = check_map(guide, kind, data, errors)
            total = [a + b for a, b in zip(total, counts)]
            print(f"{data['map']}: {counts[0]} of the guide's {counts[1]} rows run, {counts[2]} rules")
        errors += [f"{name}: no map" for name in names(guide, kind) if name not in found]
    print(f"all: {total[0]} of {total[1]} rows run, {total[2]} rules")
    total, found = [0, 0, 0], set()
    for path in sorted((maps / "tables").glob("*.yaml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        found.add(TABLE_FILES.get(data["table"], data["table"]))
        total = [a + b for a, b in zip(total, check_table(guide, data, errors))]
    errors += [f"table {name}: no table" for name in names(guide, "codesystems") if name not in found]
    print(f"tables: {total[0]} of {total[1]} rows stand, {total[2]} rows in all")
    for error in errors:
        print(error)
    sys.exit(bool(errors))


def main():
    if len(sys.argv) >= 5 and sys.argv[1] == "print":
        do_print(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:])
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        do_check(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
