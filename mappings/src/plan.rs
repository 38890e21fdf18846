//! Compiles map files into plans: paths are resolved against R4's elements, conditions parsed, maps and
//! tables linked by number. A map that names an element, map or table that does not exist is
//! refused here, with its row id, before any message arrives.

use crate::condition::Condition;
use crate::convert::{self, Primitive};
use crate::map_file::{By, MapFile, MessageFile, MessageRow, RuleRow, SwitchRow, TableFile, TableRow};
use crate::path::{self, Label, SegmentName, Source, Step};
use crate::r4::{self, Found, Kind, Name, Type, TypeNumber};
use crate::run::MAX_NEEDS;
use crate::structure::Structure;
use crate::tree::Scalar;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

/// A fault in the maps: which file or row, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("map {place}: {problem}")]
pub struct PlanError {
    pub place: String,
    pub problem: String,
}

pub(crate) fn fault(place: impl Into<String>, problem: impl ToString) -> PlanError {
    PlanError { place: place.into(), problem: problem.to_string() }
}

/// A text that the maps hold, and the same as JSON.
#[derive(Debug)]
pub struct Constant {
    pub text: String,
    pub json: String,
}

/// The number of a constant in its map set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConstantId(pub u32);

/// A compiled table.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub rows: HashMap<String, CompiledRow, foldhash::fast::RandomState>,
}

/// What a code becomes.
#[derive(Debug)]
pub struct CompiledRow {
    pub to: String,
    /// The coding's parts, in the order in which they are written.
    pub coding: Vec<(Name, ConstantId)>,
}

/// A resolved target step.
#[derive(Debug, Clone)]
pub enum Hop {
    /// An element; `object` is its type where it is a structure.
    Element {
        name: Name,
        label: Label,
        repeats: bool,
        object: Option<TypeNumber>,
    },
    Through(TypeNumber),
}

/// A resolved target: where to go, and what stands there.
#[derive(Debug, Clone)]
pub struct Target {
    pub hops: Vec<Hop>,
    pub type_name: &'static str,
    pub primitive: Option<Primitive>,
    /// The last element is an array.
    pub repeats: bool,
    /// Some element on the way is an array: further repetitions have their place.
    pub can_repeat: bool,
    pub codes: Option<&'static [&'static str]>,
}

/// What a rule does at its target.
#[derive(Debug)]
pub enum Action {
    /// Converts the source's text to the target's primitive type.
    Convert,
    /// Applies datatype map number n.
    With(usize),
    Constant(ConstantId),
    Concat(Vec<Piece>),
    First(Vec<Piece>),
    /// The valued ones, with a text between them.
    Join(String, Vec<Piece>),
    Base64(Piece),
    /// All of it, separators that nobody escaped included.
    Whole(Piece),
    /// All repetitions of a field, a line each.
    Lines(Source),
    /// A time, a number and a unit.
    Add([Piece; 3]),
    Now,
    /// A reference to the message's resource of that type.
    The(TypeNumber),
    /// A number and a unit of time, in minutes.
    Minutes([Piece; 2]),
    /// The digits of a text.
    Digits(Piece),
    /// The letters of a text.
    Letters(Piece),
    /// What stands behind a comparator such as `<`.
    Number(Piece),
    /// The hash of the map set.
    Maps,
    /// The trigger event.
    Event,
}

/// An argument of a function.
#[derive(Debug)]
pub enum Piece {
    Path(Source),
    Text(String),
}

/// The number of a rule in its map set; its name is `PID[Patient]/PID-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(pub u32);

/// A compiled rule of a segment or datatype map.
#[derive(Debug)]
pub struct Rule {
    pub id: RuleId,
    pub source: Source,
    pub when: Option<Condition>,
    /// The condition asks for a switch.
    pub switched: bool,
    pub target: Target,
    pub action: Action,
    pub table: Option<usize>,
    pub because: Option<String>,
    /// It fills a gap of the stored resource and changes nothing.
    pub gap: bool,
}

/// How a resource is recognised.
#[derive(Debug)]
pub enum Identify {
    Identifier { prefer: Vec<String> },
    Parts(Vec<IdentityPart>),
}

#[derive(Debug)]
pub enum IdentityPart {
    /// Which of those with the same other parts it is in the message.
    Nth,
    Path(Source),
    Resource(TypeNumber),
}

/// What the rules of a group read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// A field of the map's own segment.
    Own(u16),
    /// A field of another segment.
    Other(SegmentName, u16),
    /// The segment as a whole, or the value that a datatype map was given.
    Whole,
}

/// A compiled segment or datatype map.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    /// The segment that its field numbers speak of; none: a datatype.
    pub source: Option<SegmentName>,
    pub of_segment: bool,
    pub target: &'static Type,
    pub identity: Vec<Identify>,
    /// The resource types that the identity speaks of.
    pub needs: Vec<TypeNumber>,
    pub rules: Vec<Rule>,
    /// Neighbouring rules of one field, so that an empty field is passed over once.
    pub groups: Vec<(Group, Range<u32>)>,
    /// Fields that the map knows and leaves alone.
    pub known: Vec<u16>,
}

/// `Patient[1]`, and perhaps an element inside it.
#[derive(Debug, Clone)]
pub struct Slotted {
    pub kind: TypeNumber,
    pub label: u16,
    pub target: Target,
}

/// The right side of a `set`.
#[derive(Debug)]
pub enum Given {
    Resource { kind: TypeNumber, label: u16 },
    Constant(ConstantId),
}

/// One `set` of a message rule.
#[derive(Debug)]
pub struct Assignment {
    /// For every resource of that label in the group, not only for the present one.
    pub each: bool,
    pub left: Slotted,
    pub given: Given,
}

/// A compiled row of a message map.
#[derive(Debug)]
pub struct MessageRule {
    pub id: RuleId,
    pub when: Option<Condition>,
    pub switched: bool,
    pub to: Slotted,
    /// The segment map; none only takes the resource up.
    pub with: Option<usize>,
    pub set: Vec<Assignment>,
    /// The resource is spoken of second-hand.
    pub weak: bool,
}

/// A compiled message map.
#[derive(Debug)]
pub struct MessagePlan {
    pub name: String,
    pub structure: Structure,
    /// The rules of each slot of the structure.
    pub rules: Vec<Vec<MessageRule>>,
    /// Resources that an `each` goes back to, and the group that its rule stands in.
    pub remembered: Vec<(TypeNumber, u16, usize)>,
}

/// Names to numbers, while compiling.
pub(crate) struct Names<'n> {
    pub maps: &'n HashMap<String, usize>,
    pub tables: &'n HashMap<String, usize>,
    /// What each map fills.
    pub kinds: &'n HashMap<String, String>,
    pub switches: &'n [SwitchRow],
    pub pool: RefCell<Pool>,
}

/// What the compiled maps share: the constants and the names of the rules.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub constants: Vec<Constant>,
    pub rules: Vec<String>,
    known: HashMap<String, ConstantId>,
}

impl Names<'_> {
    fn map(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.maps.get(name).copied().ok_or_else(|| fault(place, format!("there is no map {name}")))
    }

    fn table(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.tables.get(name).copied().ok_or_else(|| fault(place, format!("there is no table {name}")))
    }

    pub fn constant(&self, scalar: &Scalar<'_>) -> ConstantId {
        let (text, json) = match scalar {
            Scalar::Text(text) => (text.to_string(), serde_json::Value::from(text.as_ref()).to_string()),
            Scalar::Number(text) => (text.to_string(), text.to_string()),
            Scalar::Bool(b) => (b.to_string(), b.to_string()),
        };
        let Pool { constants, known, .. } = &mut *self.pool.borrow_mut();
        *known.entry(json.clone()).or_insert_with(|| {
            constants.push(Constant { text, json });
            ConstantId((constants.len() - 1) as u32)
        })
    }

    pub fn rule(&self, id: &str) -> RuleId {
        let rules = &mut self.pool.borrow_mut().rules;
        rules.push(id.to_owned());
        RuleId((rules.len() - 1) as u32)
    }

    /// A condition whose switches are there and have the choices that it asks for.
    fn condition(&self, place: &str, text: Option<&str>) -> Result<Option<Condition>, PlanError> {
        let Some(condition) = text.map(Condition::parse).transpose().map_err(|e| fault(place, e))? else {
            return Ok(None);
        };
        let mut problem = None;
        condition.switches(&mut |name, choices| {
            let declared = self.switches.iter().find(|s| s.switch == name);
            let unknown = |choice: &&String| declared.is_none_or(|s| !s.choices.contains(choice));
            problem = problem.take().or_else(|| choices.iter().find(unknown).map(|c| (name.to_owned(), c.clone())));
        });
        match problem {
            Some((name, choice)) => Err(fault(place, format!("no switch {name} has the choice {choice}"))),
            None => Ok(Some(condition)),
        }
    }
}

pub(crate) fn table(file: &TableFile, names: &Names<'_>) -> Table {
    let compiled = |row: &TableRow| {
        let parts = [("code", Some(&row.to)), ("display", row.display.as_ref()), ("system", row.system.as_ref())];
        let constant = |text: &String| names.constant(&Scalar::Text(Cow::Borrowed(text)));
        let coding = parts.into_iter().filter_map(|(name, text)| Some((Name::of(name)?, constant(text?))));
        CompiledRow { to: row.to.clone(), coding: coding.collect() }
    };
    Table { name: file.table.clone(), rows: file.rows.iter().map(|row| (row.from.clone(), compiled(row))).collect() }
}

pub(crate) fn map(file: &MapFile, names: &Names<'_>) -> Result<Plan, PlanError> {
    let target = r4::model().get(&file.target).ok_or_else(|| fault(&file.map, "unknown target type"))?;
    let on = file.rules.iter().filter(|row| !row.off);
    let mut rules = on.map(|row| rule(row, file, names)).collect::<Result<Vec<_>, _>>()?;
    number_paths(&mut rules, &file.source);
    let identity = file.identity.iter().map(|row| match &row.by {
        By::Identifier(_) => Ok(Identify::Identifier { prefer: row.prefer.clone() }),
        By::Parts(parts) => {
            parts.iter().map(|p| identity_part(p, &file.map)).collect::<Result<_, _>>().map(Identify::Parts)
        }
    });
    let identity = identity.collect::<Result<Vec<_>, _>>()?;
    let known = file.unmapped.keys().filter_map(|key| field_number(key)).collect();
    let needs = needs(&identity);
    if needs.len() > MAX_NEEDS {
        return Err(fault(&file.map, format!("an identity speaks of at most {MAX_NEEDS} resources")));
    }
    let source = SegmentName::read(&file.source);
    let of_segment = is_of_segment(file);
    Ok(Plan {
        name: file.map.clone(),
        source,
        of_segment,
        target,
        needs,
        identity,
        groups: groups(&rules, &file.source),
        rules,
        known,
    })
}

fn groups(rules: &[Rule], source: &str) -> Vec<(Group, Range<u32>)> {
    let own = SegmentName::read(source);
    let group = |rule: &Rule| match rule.source {
        Source::Field { segment, field, .. } if Some(segment) == own => Group::Own(field),
        Source::Field { segment, field, .. } => Group::Other(segment, field),
        _ => Group::Whole,
    };
    let mut groups: Vec<(Group, Range<u32>)> = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        match groups.last_mut() {
            Some((last, range)) if *last == group(rule) => range.end += 1,
            _ => groups.push((group(rule), n as u32..n as u32 + 1)),
        }
    }
    groups
}

/// Gives equal paths of a segment map's conditions one number, unless they mean the repetition that their rule is at.
fn number_paths(rules: &mut [Rule], source: &str) {
    let mut known: Vec<Source> = Vec::new();
    let Some(own) =
        SegmentName::read(source).filter(|_| rules.iter().any(|r| matches!(r.source, Source::Field { .. })))
    else {
        return;
    };
    for rule in rules {
        let field_of = |source: &Source| match *source {
            Source::Field { segment, field, .. } if segment == own => Some(field),
            _ => None,
        };
        let at = field_of(&rule.source);
        let mut number = |path: &Source| {
            let here = at.is_some() && field_of(path) == at;
            if here || !matches!(path, Source::Field { .. }) {
                return None;
            }
            let found = known.iter().position(|k| k == path).unwrap_or_else(|| {
                known.push(*path);
                known.len() - 1
            });
            u16::try_from(found).ok()
        };
        if let Some(when) = &mut rule.when {
            when.number(&mut number);
        }
    }
}

fn needs(identity: &[Identify]) -> Vec<TypeNumber> {
    let parts = identity.iter().filter_map(|i| match i {
        Identify::Parts(parts) => Some(parts),
        Identify::Identifier { .. } => None,
    });
    let resources = parts.flatten().filter_map(|part| match part {
        IdentityPart::Resource(kind) => Some(*kind),
        _ => None,
    });
    let mut kinds: Vec<TypeNumber> = Vec::new();
    resources.for_each(|kind| {
        if !kinds.contains(&kind) {
            kinds.push(kind)
        }
    });
    kinds
}

fn field_number(row: &str) -> Option<u16> {
    match Source::parse(row) {
        Ok(Source::Field { field, .. }) => Some(field),
        _ => None,
    }
}

fn identity_part(text: &str, place: &str) -> Result<IdentityPart, PlanError> {
    if text == "nth" {
        return Ok(IdentityPart::Nth);
    }
    if let Some(kind) = r4::model().get(text).filter(|t| t.kind == Kind::Resource) {
        return Ok(IdentityPart::Resource(kind.number));
    }
    Source::parse(text).map(IdentityPart::Path).map_err(|e| fault(place, e))
}

fn rule(row: &RuleRow, file: &MapFile, names: &Names<'_>) -> Result<Rule, PlanError> {
    let id = format!("{}/{}", file.map, row.row);
    let source = match &row.from {
        Some(from) if is_of_segment(file) => Source::parse(from),
        Some(from) => Source::parse(from).map(at_hand),
        None => Source::parse(&row.row),
    };
    let source = source.map_err(|e| fault(&id, e))?;
    let steps = path::target(&row.to).map_err(|e| fault(&id, e))?;
    let start = r4::model().get(&file.target).map_or("", |t| t.name);
    let target = resolve(&steps, start, &id)?;
    let action = action(row, &target, &id, names)?;
    check_fit(&action, &target, &id)?;
    Ok(Rule {
        source,
        switched: row.when.as_deref().is_some_and(|when| when.contains('$')),
        when: names.condition(&id, row.when.as_deref())?,
        target,
        action,
        table: row.table.as_deref().map(|t| names.table(&id, t)).transpose()?,
        because: row.because.clone(),
        gap: row.gap,
        id: names.rule(&id),
    })
}

fn action(row: &RuleRow, target: &Target, id: &str, names: &Names<'_>) -> Result<Action, PlanError> {
    match (&row.with, &row.value, &row.eval) {
        (Some(with), None, None) => Ok(Action::With(names.map(id, with)?)),
        (None, Some(_), None) if row.table.is_some() => Err(fault(id, "a constant needs no table")),
        (None, Some(value), None) => Ok(Action::Constant(constant(&value.text(), target, id, names)?)),
        (None, None, Some(eval)) => function(eval, id),
        (None, None, None) => Ok(Action::Convert),
        _ => Err(fault(id, "only one of with, value and eval")),
    }
}

fn constant(text: &str, target: &Target, id: &str, names: &Names<'_>) -> Result<ConstantId, PlanError> {
    let kind =
        target.primitive.ok_or_else(|| fault(id, format!("{} is a structure: no constant", target.type_name)))?;
    let scalar = convert::primitive(Cow::Borrowed(text), kind, target.codes, None);
    scalar.map(|s| names.constant(&s)).map_err(|e| fault(id, format!("`{text}` is {e}")))
}

/// A primitive needs text and a structure needs a map.
fn check_fit(action: &Action, target: &Target, id: &str) -> Result<(), PlanError> {
    match action {
        Action::With(_) => Ok(()),
        Action::The(_) if target.type_name == "Reference" => Ok(()),
        Action::The(_) => Err(fault(id, format!("{} is no reference", target.type_name))),
        _ if target.primitive.is_some() => Ok(()),
        _ => Err(fault(id, format!("{} is a structure: it needs a datatype map", target.type_name))),
    }
}

/// The closed list of functions.
fn function(text: &str, id: &str) -> Result<Action, PlanError> {
    let bad = || fault(id, format!("`{text}` is not one of {FUNCTIONS}"));
    let (name, rest) = text.split_once('(').ok_or_else(bad)?;
    let inside = rest.trim_end().strip_suffix(')').ok_or_else(bad)?;
    if name.trim() == "the" {
        let kind = r4::model().get(inside.trim()).filter(|t| t.kind == Kind::Resource);
        return kind.map(|t| Action::The(t.number)).ok_or_else(bad);
    }
    let mut pieces = arguments(inside).into_iter().map(|a| piece(&a, id)).collect::<Result<Vec<_>, _>>()?;
    match (name.trim(), pieces.len()) {
        ("concat", 1..) => Ok(Action::Concat(pieces)),
        ("first", 1..) => Ok(Action::First(pieces)),
        ("join", 2..) => match pieces.remove(0) {
            Piece::Text(between) => Ok(Action::Join(between, pieces)),
            Piece::Path(_) => Err(bad()),
        },
        ("base64", 1) => Ok(Action::Base64(pieces.remove(0))),
        ("digits", 1) => Ok(Action::Digits(pieces.remove(0))),
        ("letters", 1) => Ok(Action::Letters(pieces.remove(0))),
        ("number", 1) => Ok(Action::Number(pieces.remove(0))),
        ("minutes", 2) => <[Piece; 2]>::try_from(pieces).map(Action::Minutes).map_err(|_| bad()),
        ("lines", 1) => match pieces.remove(0) {
            Piece::Path(path @ Source::Field { .. }) => Ok(Action::Lines(path)),
            _ => Err(bad()),
        },
        ("whole", 1) => Ok(Action::Whole(pieces.remove(0))),
        ("add", 3) => <[Piece; 3]>::try_from(pieces).map(Action::Add).map_err(|_| bad()),
        ("now", 0) => Ok(Action::Now),
        ("maps", 0) => Ok(Action::Maps),
        ("event", 0) => Ok(Action::Event),
        _ => Err(bad()),
    }
}

const FUNCTIONS: &str = "concat(...), first(...), join(\"between\", ...), base64(a), whole(a), lines(field), digits(a), letters(a), \
     number(a), add(time, number, unit), minutes(number, unit), the(Type), now(), maps(), event()";

/// Splits at commas outside quotes.
fn arguments(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        quoted ^= c == '"';
        match (c, quoted) {
            (',', false) => out.push(String::new()),
            _ => out.last_mut().into_iter().for_each(|s| s.push(c)),
        }
    }
    out.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

fn piece(text: &str, id: &str) -> Result<Piece, PlanError> {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(text) => Ok(Piece::Text(text.to_owned())),
        None => Source::parse(text).map(|path| Piece::Path(at_hand(path))).map_err(|e| fault(id, e)),
    }
}

/// A datatype map names its whole value by its own name: `from: PL`, `whole(FT)`.
fn at_hand(path: Source) -> Source {
    match path {
        Source::Segment => Source::Part { component: 0, subcomponent: 0 },
        path => path,
    }
}

/// Whether a map's rows are fields: it is of a segment then.
fn is_of_segment(file: &MapFile) -> bool {
    let own = format!("{}-", file.source);
    file.rules.iter().any(|rule| rule.row.starts_with(&own))
}

/// Walks a target path from a type through R4's elements.
pub(crate) fn resolve(steps: &[Step], start: &'static str, id: &str) -> Result<Target, PlanError> {
    let primitive = Primitive::of(start);
    let mut target = Target {
        hops: Vec::new(),
        type_name: start,
        primitive,
        repeats: false,
        can_repeat: steps.is_empty(),
        codes: None,
    };
    for step in steps {
        match step {
            Step::Through(type_name) => through(&mut target, type_name, id)?,
            Step::Element { name, label } => element(&mut target, name, *label, id)?,
        }
    }
    Ok(target)
}

fn through(target: &mut Target, type_name: &str, id: &str) -> Result<(), PlanError> {
    let model = r4::model().get(type_name).filter(|_| target.type_name == "Reference");
    let model = model.ok_or_else(|| fault(id, format!("no reference to {type_name} here")))?;
    target.hops.push(Hop::Through(model.number));
    (target.type_name, target.primitive, target.repeats, target.codes) = (model.name, None, false, None);
    Ok(())
}

fn element(target: &mut Target, name: &str, label: Label, id: &str) -> Result<(), PlanError> {
    // What lies inside a primitive is what every element has: its extensions.
    let owner = if target.primitive.is_some() { "Element" } else { target.type_name };
    let found = r4::model().get(owner).and_then(|t| t.element(name));
    let Some((Found { element, type_name }, name)) = found.zip(Name::of(name)) else {
        return Err(fault(id, format!("{} has no element {name}", target.type_name)));
    };
    let primitive = Primitive::of(type_name);
    let object = r4::model().get(type_name).map(|t| t.number).filter(|_| primitive.is_none());
    target.hops.push(Hop::Element { name, label, repeats: element.repeats, object });
    target.can_repeat |= element.repeats;
    (target.type_name, target.primitive) = (type_name, primitive);
    (target.repeats, target.codes) = (element.repeats, element.codes);
    Ok(())
}

pub(crate) fn message(file: &MessageFile, names: &Names<'_>) -> Result<MessagePlan, PlanError> {
    let structure =
        Structure::new(&file.structure).map_err(|name| fault(&file.map, format!("`{name}` is not a segment")))?;
    let mut rules: Vec<Vec<MessageRule>> = structure.slots.iter().map(|_| Vec::new()).collect();
    for row in file.rules.iter().filter(|row| !row.off) {
        let id = format!("{}/{}", file.map, row.row);
        let path = row.row.split('/').next().unwrap_or("");
        let slot = structure.slots.iter().position(|s| s.path == path);
        let slot = slot.ok_or_else(|| fault(&id, "the structure has no such segment"))?;
        rules[slot].push(message_rule(row, &id, names)?);
    }
    let of_slot = |(slot, rules): (usize, &Vec<MessageRule>)| {
        let group = structure.slots[slot].group;
        let each = rules.iter().flat_map(|rule| &rule.set).filter(|set| set.each);
        each.map(|set| (set.left.kind, set.left.label, group)).collect::<Vec<_>>()
    };
    let remembered = rules.iter().enumerate().flat_map(of_slot).collect();
    Ok(MessagePlan { name: file.map.clone(), structure, rules, remembered })
}

fn message_rule(row: &MessageRow, id: &str, names: &Names<'_>) -> Result<MessageRule, PlanError> {
    let to = slotted(&row.to, id)?;
    if let Some((with, kind)) = row.with.as_ref().and_then(|with| Some((with, names.kinds.get(with)?)))
        && *kind != to.target.type_name
    {
        return Err(fault(id, format!("{with} fills a {kind}, and {} is a {}", row.to, to.target.type_name)));
    }
    Ok(MessageRule {
        switched: row.when.as_deref().is_some_and(|when| when.contains('$')),
        when: names.condition(id, row.when.as_deref())?,
        to,
        with: row.with.as_deref().map(|with| names.map(id, with)).transpose()?,
        weak: row.weak,
        set: row.set.iter().map(|text| assignment(text, id, names)).collect::<Result<_, _>>()?,
        id: names.rule(id),
    })
}

/// `Patient[1].contact`: the resource, then the path inside it.
fn slotted(text: &str, id: &str) -> Result<Slotted, PlanError> {
    let (head, rest) = text.split_once('.').unwrap_or((text, "$this"));
    let (model, label) = labelled(head, id)?;
    let steps = path::target(rest).map_err(|e| fault(id, e))?;
    Ok(Slotted { kind: model.number, label, target: resolve(&steps, model.name, id)? })
}

/// `Patient[1]`: a resource of the message.
fn labelled(text: &str, id: &str) -> Result<(&'static Type, u16), PlanError> {
    let (name, label) = match text.split_once('[') {
        None => (text, Some(0)),
        Some((name, rest)) => (name, rest.strip_suffix(']').and_then(|n| n.parse().ok())),
    };
    let label = label.ok_or_else(|| fault(id, format!("`{text}` is not Type[n]")))?;
    let model = r4::model().get(name).filter(|t| t.kind == Kind::Resource);
    Ok((model.ok_or_else(|| fault(id, format!("no resource type {name}")))?, label))
}

fn assignment(text: &str, id: &str, names: &Names<'_>) -> Result<Assignment, PlanError> {
    let (each, body) = text.trim().strip_prefix("each ").map_or((false, text), |rest| (true, rest));
    let (left, right) = body.split_once('=').ok_or_else(|| fault(id, format!("`{text}` sets nothing")))?;
    let left = slotted(left.trim(), id)?;
    let right = right.trim();
    let given = match right.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(text) => Given::Constant(constant(text, &left.target, id, names)?),
        None if left.target.type_name != "Reference" => {
            return Err(fault(id, format!("`{text}`: the left side is no reference")));
        }
        None => {
            let (model, label) = labelled(right, id)?;
            Given::Resource { kind: model.number, label }
        }
    };
    Ok(Assignment { each, left, given })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(rule: &str) -> Result<Plan, PlanError> {
        let text = format!("map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n  - {rule}\n");
        let file: MapFile = serde_saphyr::from_str(&text).unwrap();
        let (maps, tables) = (HashMap::from([("X[Y]".to_owned(), 0)]), HashMap::new());
        map(
            &file,
            &Names { maps: &maps, tables: &tables, kinds: &HashMap::new(), switches: &[], pool: RefCell::default() },
        )
    }

    #[test]
    fn a_target_is_resolved_with_its_type_and_codes() {
        let plan = compiled("{row: PID-8, to: gender}").unwrap();
        let target = &plan.rules[0].target;
        assert_eq!((target.type_name, target.codes.map(<[_]>::len), target.repeats), ("code", Some(4), false));
        let plan = compiled("{row: PID-7, to: \"birthDate.extension[1].valueDateTime\"}").unwrap();
        assert!(matches!(plan.rules[0].target.hops[0], Hop::Element { object: None, repeats: false, .. }));
        assert_eq!(plan.rules[0].target.type_name, "dateTime");
        let plan = compiled("{row: PID-1, to: \"generalPractitioner[1](Practitioner.active)\", value: true}").unwrap();
        assert!(matches!(plan.rules[0].target.hops[1], Hop::Through(_)));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_its_row() {
        for (rule, part) in [
            ("{row: PID-8, to: sex}", "Patient has no element sex"),
            ("{row: PID-5, to: name}", "it needs a datatype map"),
            ("{row: PID-5, to: name, with: \"XPN[Nothing]\"}", "there is no map XPN[Nothing]"),
            ("{row: PID-8, to: gender, table: Nothing}", "there is no table Nothing"),
            ("{row: PID-8, to: gender, when: maybe}", "condition"),
            ("{row: PID-8, to: gender, when: '$ssn EQUALS \"keep\"'}", "no switch ssn has the choice keep"),
            ("{row: PID-8, to: gender, value: lady}", "`lady` is not one of the codes"),
            ("{row: PID-8, to: gender, eval: \"run(PID-8)\"}", "is not one of concat"),
            ("{row: PID-8, to: gender, value: male, eval: \"now()\"}", "only one of"),
            ("{row: PID-8, to: \"gender(Patient)\"}", "no reference to Patient here"),
            ("{row: nonsense, to: gender}", "is not a path"),
        ] {
            let error = compiled(rule).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("PID[Patient]/"), "{rule}: {error}");
        }
    }
}
